"""Two servers on one database."""

from pathlib import Path
from typing import Any

import psycopg
import trio

from tests.support.client import Client, Event, EventStream, connect, register
from tests.support.node import running_node

ASKING = {"UNDERSTUDY_MODEL": "builtin/rehearsal", "UNDERSTUDY_REQUIRE_APPROVAL": "datetime_now"}
LONG = ASKING | {"UNDERSTUDY_NODE_LEASE": "120s"}
SHORT = ASKING | {"UNDERSTUDY_NODE_LEASE": "6s"}
WAITING = "What time is it?"
"""What makes a turn wait for somebody's consent, for as long as it takes."""


async def until(events: EventStream, kind: str) -> Event:
    """The next event of that kind."""
    async for event in events:
        if event.type == kind:
            return event
    raise AssertionError(f"the stream ended without {kind}")


async def approve(client: Client, asked: Event) -> int:
    path = f"/approvals/{asked.data['requestId']}/approve"
    return (await client.http.post(path, headers=client.headers)).status_code


async def requests(client: Client, status: str) -> int:
    found = await client.http.get(f"/approvals?status={status}", headers=client.headers)
    return len(found.json()["approvals"])


async def said(client: Client, session_id: str) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in (await client.session(session_id))["messages"]]


def miss(dsn: str) -> None:
    """Let the lease of the server with the long one be over."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE nodes SET lease = '0', leased_until = '-infinity' WHERE lease > '1 minute'")


async def ended(client: Client, session_id: str) -> dict[str, Any]:
    """The session once no turn runs in it any more."""
    while (detail := await client.session(session_id))["runningTurn"] is not None:
        await trio.sleep(0.05)
    return detail


async def test_two_servers_share_conversations_and_of_one_that_dies_no_turn_is_left_running(
    tmp_path: Path, pg_dsn: str
) -> None:
    with trio.fail_after(110):
        async with (
            running_node(tmp_path / "a", database_url=pg_dsn, environment=LONG) as first,
            connect(first.url) as http,
        ):
            a = await register(http)
            async with a.stream(WAITING) as here:
                session_id = (await until(here, "session_resolved")).data["sessionId"]
                asked = await until(here, "approval_requested")
                async with (
                    running_node(tmp_path / "b", database_url=pg_dsn, environment=SHORT) as second,
                    connect(second.url) as elsewhere,
                ):
                    b = Client(elsewhere, a.uid, a.token, a.refresh_token)
                    # The turn goes on, though another server has started; it is read, and consented to, there.
                    assert (await b.chat("hello", onBusy="reject")).status_code == 409
                    async with b.stream("unused", last_event_id=asked.id) as there:
                        assert await approve(b, asked) == 200
                        done = await until(there, "done")
                    assert "datetime_now gave" in done.data["content"]
                    assert await until(here, "done") == done

                    for number in range(2):
                        for client in (b, a):
                            answer = await client.chat(f"number {number}")
                            assert (answer.status_code, answer.json()["sessionId"]) == (200, session_id), answer.text
                    messages = await said(a, session_id)
                    assert messages == await said(b, session_id)
                    asked_of = [content for role, content in messages if role == "user"]
                    assert asked_of == [WAITING, "number 0", "number 0", "number 1", "number 1"]
                    events = await b.events(session_id)
                    assert [event.seq for event in events] == list(range(1, len(events) + 1))
                    assert events == await a.events(session_id)

                    async with a.stream(WAITING) as stopped:
                        await until(stopped, "approval_requested")
                        answer = await b.cancel(session_id)
                        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
                        assert (await until(stopped, "error")).id == answer.json()["lastEventId"]

                    async with a.stream(WAITING) as lost:
                        await until(lost, "approval_requested")
                        first.kill()
                    assert await requests(b, "pending") == 1
                    miss(pg_dsn)
                    detail = await ended(b, session_id)
                    events = await b.events(session_id)
                    assert (events[-1].type, events[-1].data["code"]) == ("error", "INTERRUPTED")
                    assert detail["messages"][-1]["role"] == "user"
                    while await requests(b, "pending"):
                        await trio.sleep(0.05)
                    assert (await b.chat("and now?")).json()["sessionId"] == session_id
