"""A reader leaves at any moment and comes back: each event exactly once, in order."""

import random
from pathlib import Path

import pytest
import trio

from tests.support.client import TERMINAL, Client, Event, connect, register
from tests.support.node import running_node

DROPS = 100
PROMPT = "Say something long, please: " + "one two three four five six seven eight nine ten " * 8


async def read_with_drops(client: Client, surface: str, rng: random.Random) -> tuple[list[Event], int]:
    """Stream one turn, dropping the connection at random moments; what arrived, and how often it was dropped."""
    events: list[Event] = []
    drops = 0
    while not events or events[-1].type not in TERMINAL:
        keep = rng.randint(1, 12)
        last = events[-1].id if events else None
        async with client.stream(PROMPT, surfaceId=surface, last_event_id=last) as stream:
            async for event in stream:
                events.append(event)
                keep -= 1
                if keep == 0 or event.type in TERMINAL:
                    break
        drops += 1
    return events, drops


@pytest.mark.slow
async def test_a_stream_dropped_at_a_hundred_random_points_shows_each_event_exactly_once_in_order(
    tmp_path: Path, pg_dsn: str
) -> None:
    rng = random.Random(7)
    with trio.fail_after(400):
        async with running_node(tmp_path, database_url=pg_dsn) as node, connect(node.url) as http:
            client = await register(http)
            drops = turns = 0
            while drops < DROPS:
                events, dropped = await read_with_drops(client, f"surface-{turns}", rng)
                drops += dropped
                turns += 1
                session_id = events[0].data["sessionId"]
                assert [e.seq for e in events] == list(range(events[0].seq, events[0].seq + len(events)))
                assert [(e.id, e.data) for e in events] == [(e.id, e.data) for e in await client.events(session_id)]
                assert "".join(e.data["content"] for e in events if e.type == "content") == events[-1].data["content"]


async def test_an_event_id_of_another_session_or_from_the_future_is_refused_and_starts_nothing(
    tmp_path: Path, pg_dsn: str
) -> None:
    with trio.fail_after(110):
        async with running_node(tmp_path, database_url=pg_dsn) as node, connect(node.url) as http:
            client, stranger = await register(http), await register(http)
            session_id = (await client.chat("hello")).json()["sessionId"]
            before = await client.session(session_id)
            foreign = (await stranger.chat("hello")).json()["sessionId"]
            for last_event_id, status in ((f"{session_id}:9999", 400), (f"{foreign}:1", 404), ("nonsense", 400)):
                answer = await http.post(
                    "/agent/chat/stream",
                    json={"message": "again"},
                    headers=client.headers | {"Last-Event-ID": last_event_id},
                )
                assert answer.status_code == status, answer.text
                assert {"error", "code", "requestId"} <= answer.json().keys()
            assert await client.session(session_id) == before
