"""What the OpenAI-compatible client does with its connections: kept, left, dead and many at once."""

import pytest
import trio
from trio.testing import MockClock

from tests.actors.inference.stage import REQUEST, MakeClient, ask, text_of
from tests.support.provider import HEAD, Behaviour, event, framed, stand_in
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.messages import (
    ChatMessage,
    ModelRequest,
)
from understudy.actors.inference.timeouts import Timeouts
from understudy.storage.records import Role


async def test_a_finish_reason_without_anything_behind_it_ends_soon_on_an_open_connection(
    client_of: MakeClient, idle_clock: MockClock
) -> None:
    raw = HEAD + framed(event({"content": "hm"})) + framed(event({}, "stop"))
    async with stand_in() as provider:
        provider.enqueue(Behaviour(raw=raw))
        begin = trio.current_time()
        assert text_of(await ask(client_of(provider, Timeouts(5, 5, 0.2, 60)))) == "hm"
        assert trio.current_time() - begin < 10


@pytest.mark.parametrize("how", ["cancel", "break", "error"])
async def test_leaving_early_closes_the_connection_and_not_one_more_byte_is_sent(
    how: str, client_of: MakeClient
) -> None:
    class Oops(Exception):
        pass

    async with stand_in(Behaviour(tokens=100_000, gap_ms=1)) as provider:
        client = client_of(provider)
        with trio.CancelScope() as scope:
            try:
                async with client.stream(REQUEST) as events:
                    seen = 0
                    async for _ in events:
                        seen += 1
                        if seen == 5:
                            if how == "break":
                                break
                            if how == "error":
                                raise Oops  # noqa: TRY301  leaving is the point
                            scope.cancel()
            except Oops:
                pass
        left = trio.current_time()
        with trio.fail_after(20):
            await provider.connections[0].closed.wait()
        assert provider.connections[0].closed_by_peer
        assert provider.connections[0].sent_after(left) == 0
        assert client.statistics().idle == 0


async def test_cancelling_while_the_head_is_awaited_closes_the_connection(
    client_of: MakeClient, idle_clock: MockClock
) -> None:
    async with stand_in(Behaviour(stall_head=True)) as provider:
        with trio.move_on_after(0.05) as scope:
            await ask(client_of(provider))
        assert scope.cancelled_caught
        with trio.fail_after(20):
            await provider.connections[0].closed.wait()
        assert provider.connections[0].closed_by_peer


async def test_a_flood_is_not_read_further_once_the_reader_has_left(client_of: MakeClient) -> None:
    async with stand_in(Behaviour(tokens=200_000)) as provider:
        async with client_of(provider).stream(REQUEST) as events:
            async for _ in events:
                break
        with trio.fail_after(30):
            await provider.connections[0].closed.wait()


async def test_a_kept_connection_that_the_server_closed_is_replaced(client_of: MakeClient) -> None:
    async with stand_in() as provider:
        client = client_of(provider)
        provider.enqueue(Behaviour(), Behaviour(drop=True), Behaviour(tokens=1))
        await ask(client)
        # The second request meets a server that closes without an answer: nothing came, so it is tried afresh, once.
        assert text_of(await ask(client)) == "tok0 "
        assert len(provider.requests) == 3
        assert client.statistics().stale == 1
        provider.enqueue(Behaviour(drop=True), Behaviour(drop=True), Behaviour(tokens=1))
        with pytest.raises(UpstreamFailed, match="closed the connection"):
            await ask(client)
        assert len(provider.requests) == 5


async def test_a_kept_connection_that_died_in_the_meantime_is_noticed_before_use(client_of: MakeClient) -> None:
    async with stand_in(Behaviour(close=True, tokens=1)) as provider:
        client = client_of(provider)
        for _ in range(3):
            assert text_of(await ask(client)) == "tok0 "
            with trio.fail_after(20):
                await provider.connections[-1].closed.wait()
        assert len(provider.requests) == 3
        assert client.statistics().reused == 0, "no request was spent on a dead connection"


async def test_a_cut_in_the_middle_of_an_answer_is_never_repeated(client_of: MakeClient) -> None:
    async with stand_in() as provider:
        client = client_of(provider)
        await ask(client)
        provider.enqueue(Behaviour(cut_after=1))
        with pytest.raises(UpstreamFailed, match="cut"):
            await ask(client)
        assert len(provider.requests) == 2


async def test_many_streams_at_once_do_not_mix(client_of: MakeClient) -> None:
    async with stand_in() as provider:
        client = client_of(provider)
        answers: dict[int, str] = {}

        async def one(number: int) -> None:
            message = ChatMessage(Role.USER, f"!text=answer-{number}-is-here gap_ms=1")
            answers[number] = text_of(await ask(client, ModelRequest("openai", "fake", (message,))))

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
        assert answers == {number: f"answer-{number}-is-here" for number in range(50)}
        assert client.statistics().idle <= 32
        await client.aclose()
