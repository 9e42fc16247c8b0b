"""Following a streamed turn through cut connections: each event once, in order, and one turn only."""

import random
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.scripted_server import Exchange, scripted
from understudy.backoff import Backoff
from understudy.cli.api import Api, ApiError, Unreachable
from understudy.cli.credentials import Credentials, CredentialStore
from understudy.cli.sse import ServerEvent
from understudy.cli.turn import StreamedTurn

QUICK, TRIES = Backoff(base=0.001, limit=0.002), 5
TOTAL = 12


class Follower:
    """A turn being followed, with what it showed."""

    def __init__(self, api: Api) -> None:
        self.events: list[ServerEvent] = []
        self.notices: list[str] = []
        body = {"message": "hi"}
        self.turn = StreamedTurn(
            api, body, self.events.append, self.notices.append, backoff=QUICK, tries=TRIES, rng=random.Random(1)
        )

    @property
    def sequence(self) -> list[int]:
        return [int(event.id.rpartition(":")[2]) for event in self.events]


async def serve_from(exchange: Exchange, *, upto: int) -> None:
    """The log of a turn of `TOTAL` events, from where the request says, until *upto*."""
    after = int(exchange.asked.headers.get("last-event-id", "ses_1:0").rpartition(":")[2])
    await exchange.open_events()
    for seq in range(after + 1, upto + 1):
        await exchange.event("done" if seq == TOTAL else "content", seq, content=str(seq))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, TOTAL - 1), max_size=4), mid_frame=st.booleans(), overlap=st.booleans())
async def test_each_event_is_shown_once_and_in_order_wherever_the_connection_is_cut(
    cuts: list[int], mid_frame: bool, overlap: bool
) -> None:
    script = iter(cuts)

    async def answer(exchange: Exchange) -> None:
        cut = next(script, TOTAL)
        if overlap and "last-event-id" in exchange.asked.headers:
            exchange.asked.headers["last-event-id"] = "ses_1:0"  # a server that repeats what was seen
        await serve_from(exchange, upto=cut)
        if mid_frame and cut < TOTAL:
            await exchange.raw(b"event: content\nid: ses_1:99\ndata: {")

    with trio.fail_after(30):
        async with scripted(answer) as server, Api(server.url) as api:
            follower = Follower(api)
            last = await follower.turn.run()
    assert last.type == "done"
    assert follower.sequence == list(range(1, TOTAL + 1))
    assert len({asked.headers["x-idempotency-key"] for asked in server.asked}) == 1


@pytest.mark.parametrize("answered", [True, False])
async def test_a_connection_lost_before_the_first_event_asks_again_under_the_same_key(answered: bool) -> None:
    tries = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal tries
        tries += 1
        if tries == 1 and not answered:
            return
        await exchange.open_events()
        if tries > 1:
            await exchange.event("done", 1)

    with trio.fail_after(30):
        async with scripted(answer) as server, Api(server.url) as api:
            follower = Follower(api)
            await follower.turn.run()
    first, second = server.asked
    assert first.headers["x-idempotency-key"] == second.headers["x-idempotency-key"]
    assert "last-event-id" not in second.headers
    assert follower.notices == ["connection lost, resuming ..."]


async def test_a_server_that_is_restarting_is_waited_for_as_long_as_it_says() -> None:
    tries = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal tries
        tries += 1
        match tries:
            case 1:
                await serve_from(exchange, upto=3)
            case 2:
                await exchange.json(503, {"error": "starting", "code": "UNAVAILABLE"}, **{"Retry-After": "0"})
            case _:
                await serve_from(exchange, upto=TOTAL)

    with trio.fail_after(30):
        async with scripted(answer) as server, Api(server.url) as api:
            follower = Follower(api)
            await follower.turn.run()
    assert follower.sequence == list(range(1, TOTAL + 1))
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [None, "ses_1:3", "ses_1:3"]


async def test_a_parting_word_of_the_connection_is_not_the_end_of_the_turn() -> None:
    tries = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal tries
        tries += 1
        await serve_from(exchange, upto=5 if tries == 1 else TOTAL)
        await exchange.raw(b'event: error\ndata: {"message": "stopping", "code": "INTERRUPTED"}\n\n')

    with trio.fail_after(30):
        async with scripted(answer) as server, Api(server.url) as api:
            follower = Follower(api)
            last = await follower.turn.run()
    assert last.type == "done"
    assert follower.sequence == list(range(1, TOTAL + 1))


async def test_a_stream_that_always_ends_early_is_given_up() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.open_events()

    with trio.fail_after(30):
        async with scripted(answer) as server, Api(server.url) as api:
            with pytest.raises(Unreachable, match="keeps ending the stream"):
                await Follower(api).turn.run()
    assert len(server.asked) == TRIES + 1


async def test_a_server_that_never_comes_back_is_given_up_with_a_sentence() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.open_events()
        await exchange.event("content", 1, content="x")
        server.stop()

    with trio.fail_after(30):
        async with scripted(answer) as server, Api(server.url) as api:
            follower = Follower(api)
            with pytest.raises(Unreachable, match="no server answers at"):
                await follower.turn.run()
    assert len(follower.notices) == 1


async def test_a_refusal_before_the_first_byte_is_raised_at_once() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.json(429, {"error": "Too many requests", "code": "RATE_LIMIT"}, **{"Retry-After": "7"})

    with trio.fail_after(30):
        async with scripted(answer) as server, Api(server.url) as api:
            with pytest.raises(ApiError, match="Too many requests") as caught:
                await Follower(api).turn.run()
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (429, "RATE_LIMIT", 7.0)
    assert len(server.asked) == 1


async def test_nobody_at_the_address_is_told_at_once() -> None:
    async with scripted(refuse) as server:
        gone = server.url
    with trio.fail_after(30):
        async with Api(gone) as api:
            with pytest.raises(Unreachable, match="start one with: understudy serve"):
                await Follower(api).turn.run()


async def test_an_access_token_that_ran_out_is_renewed_unseen(tmp_path: Path) -> None:
    async def answer(exchange: Exchange) -> None:
        match exchange.asked.path, exchange.asked.headers.get("authorization"):
            case "/auth/refresh", _:
                assert exchange.asked.body == {"refreshToken": "refresh-1"}
                await exchange.json(200, {"accessToken": "access-2", "refreshToken": "refresh-2"})
            case _, "Bearer access-2":
                await serve_from(exchange, upto=TOTAL)
            case _:
                await exchange.json(401, {"error": "expired", "code": "UNAUTHENTICATED"})

    store = CredentialStore(tmp_path / "credentials.json")
    with trio.fail_after(30):
        async with scripted(answer) as server, Api(server.url, store=store) as api:
            store.put(server.url, Credentials("m@example.org", "access-1", "refresh-1"))
            follower = Follower(api)
            await follower.turn.run()
    assert follower.sequence == list(range(1, TOTAL + 1))
    assert store.get(server.url) == Credentials("m@example.org", "access-2", "refresh-2")


async def test_a_login_that_cannot_be_renewed_is_forgotten(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path / "credentials.json")
    with trio.fail_after(30):
        async with scripted(refuse) as server, Api(server.url, store=store) as api:
            store.put(server.url, Credentials("m@example.org", "access-1", "refresh-1"))
            with pytest.raises(ApiError, match="no"):
                await Follower(api).turn.run()
    assert store.get(server.url) is None


async def test_a_cancel_waits_until_the_session_is_known_and_names_it() -> None:
    known, cancelled = trio.Event(), trio.Event()

    async def answer(exchange: Exchange) -> None:
        if exchange.asked.path == "/agent/chat/stream":
            await exchange.open_events()
            await known.wait()
            await exchange.event("session_resolved", 1, sessionId="ses_1", isNew=True)
            await cancelled.wait()
            await exchange.event("error", 2, message="stopped", code="CANCELLED")
        else:
            await exchange.json(200, {})
            cancelled.set()

    with trio.fail_after(30):
        async with scripted(answer) as server, Api(server.url) as api:
            follower = Follower(api)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follower.turn.run)
                nursery.start_soon(follower.turn.cancel)
                await trio.testing.wait_all_tasks_blocked()
                assert not cancelled.is_set()
                known.set()
    assert [asked.path for asked in server.asked] == ["/agent/chat/stream", "/sessions/ses_1/cancel"]
    assert [event.type for event in follower.events] == ["session_resolved", "error"]


async def refuse(exchange: Exchange) -> None:
    await exchange.json(401, {"error": "no", "code": "UNAUTHENTICATED"})
