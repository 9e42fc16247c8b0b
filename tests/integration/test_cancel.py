"""Stop means quiet."""

import math
import random
from pathlib import Path

import pytest
import trio

from tests.support.client import Client, connect, operator_get, register
from tests.support.node import running_node
from tests.support.provider import Behaviour, SeenConnection, StandIn, stand_in

CANCELS = 200
WORKERS = 4
P99 = 0.25
TRIES = 3


def connection_of(provider: StandIn, prompt: str) -> SeenConnection | None:
    """The provider's connection on which this prompt was answered, if the request got that far."""
    for request in provider.requests:
        if request.body["messages"][-1]["content"] == prompt:
            return provider.connections[request.connection]
    return None


async def cancel_one(client: Client, provider: StandIn, surface: str, delay: float) -> float:
    """Stream a turn, cancel it after *delay*; seconds from request to answer."""
    prompt = f"tell {surface} a long story"
    opened, sessions = trio.open_memory_channel[str](1)
    seen: list[str] = []

    async def read() -> None:
        async with client.stream(prompt, surfaceId=surface) as events:
            async for event in events:
                seen.append(event.id)
                if event.type == "session_resolved":
                    await opened.send(event.data["sessionId"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        session_id = await sessions.receive()
        await trio.sleep(delay)
        began = trio.current_time()
        answer = await client.cancel(session_id)
        answered = trio.current_time()
        assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["status"] == "cancelled"
    log = await client.events(session_id)
    assert (log[-1].type, log[-1].data["code"]) == ("error", "CANCELLED")
    assert log[-1].id == body["lastEventId"], "an event came after the answer"
    assert seen == [event.id for event in log]
    connection = connection_of(provider, prompt)
    if connection is not None:
        assert connection.sent_after(answered) == 0, "the provider was still being read after the answer"
        await connection.closed.wait()
    said = "".join(event.data["content"] for event in log if event.type == "content")
    messages = (await client.session(session_id))["messages"]
    assert [m["content"] for m in messages] == ([prompt, said] if said else [prompt])
    return answered - began


def most(seconds: list[float]) -> float:
    """The 99th percentile."""
    return sorted(seconds)[max(0, int(len(seconds) * 0.99) - 1)]


@pytest.mark.slow
async def test_two_hundred_cancels_at_random_moments_answer_fast_and_leave_everything_quiet(
    tmp_path: Path, pg_dsn: str
) -> None:
    rng = random.Random(3)
    with trio.fail_after(550):
        async with (
            stand_in(Behaviour(tokens=2000, gap_ms=5)) as provider,
            running_node(tmp_path, database_url=pg_dsn, environment=provider.environment) as node,
            connect(node.url) as http,
        ):
            client = await register(http)

            async def cancel_many(name: str) -> float:
                """How long most cancels took, beyond what a request takes that does nothing."""
                took: list[float] = []
                nothing: list[float] = []

                async def do_nothing() -> None:
                    while True:
                        began = trio.current_time()
                        await http.get("/livez")
                        nothing.append(trio.current_time() - began)
                        await trio.sleep(0.02)

                async def cancel_some(worker: int) -> None:
                    for number in range(CANCELS // WORKERS):
                        surface = f"{name}-{worker}-{number}"
                        took.append(await cancel_one(client, provider, surface, rng.uniform(0, 0.3)))

                async with trio.open_nursery() as beside:
                    beside.start_soon(do_nothing)
                    async with trio.open_nursery() as nursery:
                        for worker in range(WORKERS):
                            nursery.start_soon(cancel_some, worker)
                    beside.cancel_scope.cancel()
                assert len(took) == CANCELS
                return most(took) - most(nothing)

            # One pause of the machine is as long for all that are cancelled in it: then it is measured again.
            slowest: list[float] = []
            while len(slowest) < TRIES and min(slowest, default=math.inf) > P99:
                slowest.append(await cancel_many(f"surface-{len(slowest)}"))
    assert min(slowest) <= P99, slowest


async def test_a_cancelled_turn_drops_what_waits_behind_it_and_the_next_message_is_served(
    tmp_path: Path, pg_dsn: str
) -> None:
    with trio.fail_after(110):
        async with (
            stand_in(Behaviour(tokens=2000, gap_ms=5)) as provider,
            running_node(tmp_path, database_url=pg_dsn, environment=provider.environment) as node,
            connect(node.url) as http,
        ):
            client = await register(http)
            waiting: list[int] = []

            async def wait_behind() -> None:
                waiting.append((await client.chat("after you")).status_code)

            async with client.stream("tell me a long story") as events, trio.open_nursery() as nursery:
                session_id = (await anext(events)).data["sessionId"]
                nursery.start_soon(wait_behind)
                while (await operator_get(http, f"/diagnostics/actors/session/{session_id}"))["inspect"]["queued"] != 1:
                    await trio.sleep(0.01)
                assert (await client.cancel(session_id)).status_code == 200
                assert [event.type async for event in events][-1] == "error"
            assert waiting == [409]
            provider.default = Behaviour(tokens=3)
            answer = await client.chat("and now?")
            assert answer.json()["content"] == "tok0 tok1 tok2 "
