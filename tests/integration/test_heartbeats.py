"""Heartbeats on a whole server: real feeds and pages on sockets, and a clock that is moved by moving due times."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import h11
import httpx
import pytest
import trio

from tests.support.client import Client, connect, next_http_event, register
from tests.support.feeds import rss
from tests.support.node import Node, running_node
from understudy.storage.pool import Pool
from understudy.storage.repository import rows

SETTINGS = {"UNDERSTUDY_OUTBOUND_ALLOW": "127.0.0.0/8", "UNDERSTUDY_HEARTBEAT_SWEEP": "100ms"}
BEATS = 50


@attrs.define
class Site:
    """What is at each path: a body, or the status to answer with. A body's tag is its hash."""

    url: str = ""
    pages: dict[str, bytes | int] = attrs.field(factory=dict)
    asked: list[str] = attrs.field(factory=list)
    struck: Callable[[int], None] = lambda count: None
    """Called with how many requests there have been, before the last of them is answered."""

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, one request."""
        http = h11.Connection(h11.SERVER)
        try:
            async with stream:
                head = await next_http_event(stream, http)
                if not isinstance(head, h11.Request):
                    return
                path, tag = head.target.decode(), ""
                self.asked.append(path)
                self.struck(len(self.asked))
                page = self.pages.get(path, 404)
                if isinstance(page, bytes):
                    tag = f'"{hash(page)}"'
                    page = 304 if dict(head.headers).get(b"if-none-match") == tag.encode() else page
                status, body = (200, page) if isinstance(page, bytes) else (page, b"")
                lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", f"etag: {tag}" if tag else "x: y"]
                await stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return  # who asked was killed


@asynccontextmanager
async def site() -> AsyncGenerator[Site, None]:
    """A web site on the loopback."""
    it = Site()
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, it.serve, 0, host="127.0.0.1"))
        it.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield it
        nursery.cancel_scope.cancel()


@attrs.define
class World:
    """A server, its database, a user, and a site to look at."""

    node: Node
    pool: Pool
    http: httpx.AsyncClient
    mira: Client
    site: Site

    async def make(self, **fields: Any) -> str:
        """A heartbeat with what *fields* say."""
        body = {"name": "n", "type": "rss", "url": f"{self.site.url}/feed", "intervalMinutes": 5, **fields}
        answer = await self.http.post("/heartbeat", json=body, headers=self.mira.headers)
        assert answer.status_code == 201, answer.text
        made: str = answer.json()["id"]
        return made

    async def due(self, heartbeat_id: str) -> None:
        """Let its next due time be now."""
        async with self.pool.connection() as connection:
            query = "UPDATE heartbeat_configs SET next_run_at = clock_timestamp() WHERE id = %s"
            await rows(connection, query, heartbeat_id)

    async def runs(self, heartbeat_id: str, count: int) -> Sequence[dict[str, Any]]:
        """Its runs, oldest first, once that many have ended."""
        while True:
            answer = await self.http.get(f"/heartbeat/{heartbeat_id}/runs", headers=self.mira.headers)
            runs = [run for run in answer.json()["runs"] if run["status"] != "running"]
            if len(runs) >= count:
                return runs[::-1]
            await trio.sleep(0.02)

    async def messages(self, session_id: str) -> list[str]:
        """What was said in a session, by whom."""
        detail = await self.mira.session(session_id)
        return [message["content"] for message in detail["messages"] if message["role"] == "user"]


@pytest.fixture
async def world(tmp_path: Path, pg_dsn: str) -> AsyncIterator[World]:
    with trio.fail_after(110):
        pool = Pool(pg_dsn, min_size=0, max_size=4)
        await pool.open()
        async with (
            site() as pages,
            running_node(tmp_path, database_url=pg_dsn, environment=SETTINGS) as node,
            connect(node.url) as http,
        ):
            yield World(node, pool, http, await register(http), pages)
        await pool.close()


async def test_feeds_and_pages_are_watched_by_a_whole_server(world: World) -> None:
    world.site.pages = {"/feed": rss("two", "one"), "/page": b"price: 10"}
    feed = await world.make(prompt="Say what is new: {{items}}")
    page = await world.make(type="http", url=f"{world.site.url}/page", prompt="{{status}} {{diff}}")
    await world.runs(feed, 1)
    await world.runs(page, 1)

    async def next_run(heartbeat_id: str, count: int, path: str, content: bytes | int) -> dict[str, Any]:
        world.site.pages[path] = content
        await world.due(heartbeat_id)
        return (await world.runs(heartbeat_id, count))[-1]

    third = await next_run(feed, 2, "/feed", rss("three", "two", "one"))
    assert (third["status"], third["itemCount"], third["httpStatus"]) == ("triggered", 1, 200)
    same = await next_run(feed, 3, "/feed", rss("three", "two", "one"))
    assert (same["status"], same["httpStatus"]) == ("unchanged", 304)
    assert await world.messages(third["sessionId"]) == ["Say what is new: - three"]
    session = await world.mira.session(third["sessionId"])
    assert (session["surface"], session["surfaceId"]) == ("prop", f"heartbeat:{feed}")

    looks: list[bytes | int] = [b"price: 12", b"price: 12", 500, 500, 500, b"price: 12", b"price: 12"]
    for count, content in enumerate(looks, start=2):
        await next_run(page, count, "/page", content)
    ended = await world.runs(page, len(looks) + 1)
    statuses = [run["status"] for run in ended]
    assert statuses == ["ok", "triggered", "unchanged", "error", "triggered", "error", "triggered", "unchanged"]
    told = await world.messages(ended[1]["sessionId"])
    assert told == ["changed -price: 10\n+price: 12", "down (HTTP 500)", "back up"]


@pytest.mark.slow
async def test_a_server_killed_in_the_middle_of_fifty_heartbeats_runs_each_due_time_once_and_forgets_none(
    world: World,
) -> None:
    names = [f"/feed/{number}" for number in range(BEATS)]
    world.site.pages = dict.fromkeys(names, rss("one"))
    killed = trio.Event()

    def kill(count: int) -> None:
        if count == BEATS // 2:
            world.node.kill()
            killed.set()

    world.site.struck = kill
    beats = [await world.make(url=f"{world.site.url}{name}", fireOnFirstRun=True, enabled=False) for name in names]
    async with world.pool.connection() as connection:
        await rows(connection, "UPDATE heartbeat_configs SET next_run_at = clock_timestamp(), enabled = true")
        due = {row[0]: row[1] for row in await rows(connection, "SELECT id, next_run_at FROM heartbeat_configs")}
        await killed.wait()
        ((left,),) = await rows(connection, "SELECT count(*) FROM heartbeat_runs WHERE status = 'running'")
        ((done,),) = await rows(connection, "SELECT count(*) FROM heartbeat_runs WHERE status <> 'running'")
        assert left > 0, "killed too late to prove anything"
        assert done < BEATS
        # As if the lease had passed: half a minute in which nobody renewed it.
        await rows(connection, "UPDATE heartbeat_runs SET lease_until = clock_timestamp() WHERE status = 'running'")
        await world.node.start()
        while True:
            query = "SELECT heartbeat_id, due_at, status, attempt FROM heartbeat_runs"
            runs = await rows(connection, query)
            if len(runs) >= BEATS and all(status != "running" for *_, status, _ in runs):
                break
            await trio.sleep(0.02)
        assert sorted((beat, at) for beat, at, *_ in runs) == sorted(due.items())
        assert sorted(due) == sorted(beats)
        assert sum(attempt == 2 for *_, attempt in runs) == left
        turns = await rows(
            connection, "SELECT s.surface_id, count(*) FROM turns t JOIN sessions s ON s.id = t.session_id GROUP BY 1"
        )
        assert all(count == 1 for _, count in turns), "an agent was woken twice for one due time"
        assert {status for *_, status, _ in runs} <= {"triggered", "error"}
        woken = {surface.removeprefix("heartbeat:") for surface, _ in turns}
        assert {beat for beat, *_ in runs} == woken
