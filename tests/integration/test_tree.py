"""The tree shows, live, what a session goes through."""

from pathlib import Path
from typing import Any

import trio

from tests.support.client import EventStream, connect, open_events, operator_post, register
from tests.support.node import INTERNAL_KEY, running_node
from tests.support.provider import Behaviour, stand_in


async def next_state(watch: EventStream, address: str, **wanted: Any) -> dict[str, Any]:
    """Read on until the actor at *address* is seen so."""
    async for event in watch:
        for node in event.data.get("changed", ()):
            if node["address"] == address and all(node[name] == value for name, value in wanted.items()):
                seen: dict[str, Any] = node
                return seen
    raise AssertionError("the stream ended")


async def next_gone(watch: EventStream, address: str) -> None:
    """Read on until there is no actor at *address* any more."""
    async for event in watch:
        if address in event.data.get("removed", ()):
            return
    raise AssertionError("the stream ended")


async def test_a_session_is_seen_made_busy_killed_restarted_and_passivated(tmp_path: Path, pg_dsn: str) -> None:
    with trio.fail_after(110):
        async with stand_in(Behaviour(tokens=2000, gap_ms=5)) as provider:
            environment = {**provider.environment, "UNDERSTUDY_SESSION_IDLE_AFTER": "1s"}
            async with (
                running_node(tmp_path, database_url=pg_dsn, environment=environment) as node,
                connect(node.url) as http,
                open_events(http.base_url, "GET", "/diagnostics/actors?watch=1", {"X-Api-Key": INTERNAL_KEY}) as watch,
            ):
                snapshot = await anext(watch)
                assert snapshot.type == "snapshot"
                client = await register(http)
                async with client.stream("tell me a long story") as events:
                    session_id = (await anext(events)).data["sessionId"]
                    address = f"session/{session_id}"
                    made = await next_state(watch, address, status="streaming")
                    assert made["labels"]["uid"] == client.uid
                    assert [work["name"] for work in made["work"]] == ["turn"]
                    assert (await operator_post(http, f"/diagnostics/actors/{address}/kill")).status_code == 200
                    restarted = await next_state(watch, address, restarts=1, state="idle")
                    assert restarted["epoch"] > made["epoch"]
                    last = [event async for event in events][-1]
                    assert (last.type, last.data["code"]) == ("error", "INTERRUPTED")
                await next_gone(watch, address)
                provider.default = Behaviour(tokens=2)
                answer = await client.chat("still there?")
                assert answer.json()["sessionId"] == session_id
