"""A stage for heartbeats: the real actors, sessions included, over the memory store, a web that answers on cue, and a
clock that jumps."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import attrs
import trio

from tests.actors.session.stage import KEY, Line, Script, Stage, say
from tests.actors.session.stage import stage as session_stage
from tests.support.storage import START
from understudy.actors.facts import Fact, read_fact
from understudy.actors.heartbeats.document import HeartbeatDocument, Kind
from understudy.actors.heartbeats.messages import (
    HEARTBEATS,
    ChangeHeartbeat,
    CreateHeartbeat,
    Editor,
    HeartbeatView,
    ListRuns,
    heartbeat_address,
)
from understudy.actors.heartbeats.services import HeartbeatServices
from understudy.actors.heartbeats.tree import heartbeats_spec
from understudy.actors.inference.messages import ModelEvent
from understudy.actors.outbound.connection import Origin
from understudy.actors.outbound.guarded import Fetched, OutboundError, OutboundRefused
from understudy.actors.workspaces.actor import workspaces_spec
from understudy.runtime import ActorSystem
from understudy.storage.heartbeat_records import HeartbeatRun
from understudy.storage.records import Message

T = TypeVar("T")
URL = "http://a.example/feed"
PAGE = "http://a.example/page"
EDITOR = Editor(KEY.workspace_id, KEY.uid, admin=True)


def now() -> datetime:
    """The wall clock of these tests goes with trio's."""
    return START + timedelta(seconds=trio.current_time())


async def inline(fn: Callable[..., T], *args: object) -> T:
    """An `Aside` without threads, which a clock that jumps does not see."""
    await trio.lowlevel.checkpoint()
    return fn(*args)


def words(runs: Sequence[HeartbeatRun]) -> list[str]:
    """What became of each."""
    return [run.status.value for run in runs]


def slowly(seconds: float) -> Script:
    """A model that has nothing to say, and takes its time."""

    async def speak(line: Line) -> AsyncIterator[ModelEvent]:
        del line
        await trio.sleep(seconds)
        async for event in say("noted"):
            yield event

    return speak


@attrs.define
class Request:
    """What was asked of the web."""

    url: str
    at: datetime
    headers: Mapping[str, str]


class FakeWeb:
    """Answers what it is set to, by URL: a body, a status, or an error; ``cue`` holds answers back."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.etags: dict[str, str] = {}
        self.requests: list[Request] = []
        self.cue: trio.Event | None = None

    async def fetch(self, url: str, *, headers: Mapping[str, str] | None = None, **_: Any) -> Fetched:
        await trio.lowlevel.checkpoint()
        self.requests.append(Request(url, now(), dict(headers or {})))
        if self.cue is not None:
            await self.cue.wait()
        answer, etag = self.answers[url], self.etags.get(url)
        if isinstance(answer, OutboundError):
            raise answer
        if etag is not None and (headers or {}).get("if-none-match") == etag:
            return Fetched(url, 304, {}, b"", truncated=False)
        if isinstance(answer, int):
            return Fetched(url, answer, {}, b"", truncated=False)
        return Fetched(url, 200, {"etag": etag} if etag else {}, answer, truncated=False)

    async def addresses(self, origin: Origin) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        if origin.host == "localhost":
            raise OutboundRefused("localhost is not allowed: it leads to 127.0.0.1, which is loopback")
        return ["93.184.216.34"]


@attrs.define
class Beats:
    """Everything a test of heartbeats touches."""

    it: Stage
    web: FakeWeb
    services: HeartbeatServices

    @property
    def system(self) -> ActorSystem:
        return self.it.system

    async def make(self, **fields: Any) -> HeartbeatView:
        """A heartbeat: by default of one feed, every five minutes."""
        interval, enabled = fields.pop("interval", 300), fields.pop("enabled", True)
        given = {"name": "News", "type": Kind.RSS, "urls": (URL,), **fields}
        return await self.system.ask(
            HEARTBEATS, CreateHeartbeat(EDITOR, HeartbeatDocument(**given), interval, enabled=enabled)
        )

    async def change(self, heartbeat_id: str, **fields: Any) -> HeartbeatView:
        """Change it, as an admin."""
        interval, enabled = fields.pop("interval", None), fields.pop("enabled", None)
        message = ChangeHeartbeat(EDITOR, heartbeat_id, fields, interval, enabled)
        return await self.system.ask(HEARTBEATS, message)

    async def runs(self, heartbeat_id: str) -> Sequence[HeartbeatRun]:
        """All its runs, oldest first."""
        page = await self.system.ask(HEARTBEATS, ListRuns(KEY.workspace_id, heartbeat_id, 1000))
        return page.runs[::-1]

    async def settled(self, heartbeat_id: str, count: int, poll: float = 7.0) -> Sequence[HeartbeatRun]:
        """Its runs, once there are *count* that have ended, as looked for every *poll* seconds."""
        while True:
            runs = await self.runs(heartbeat_id)
            ended = [run for run in runs if run.finished_at is not None]
            if len(ended) >= count:
                return ended
            await trio.sleep(poll)

    def told(self, heartbeat_id: str) -> list[str]:
        """What its agent was told, in order."""
        tables = self.it.store.tables
        mine = {s.id for s in tables.sessions.values() if s.key.surface_id == f"heartbeat:{heartbeat_id}"}
        messages: list[Message] = [m for m in tables.messages.values() if m.session_id in mine]
        return [m.content for m in messages if m.role.value == "user"]

    def facts(self, event: str) -> list[Fact]:
        """What was published under this name."""
        return [read_fact(out.item) for out in self.it.store.tables.outbox.values() if out.item.topic == event]

    async def kill(self, heartbeat_id: str) -> None:
        """End its actor, as an operator would."""
        await self.system.kill(heartbeat_address(heartbeat_id))


YEARS = 3 * 365 * 86_400.0
"""Seconds of a clock that jumps: longer than any of the stories told here."""


@asynccontextmanager
async def stage(
    script: Script | None = None, *, turn_timeout: float = 120.0, **more: Any
) -> AsyncGenerator[Beats, None]:
    """The stage, set; by default the agent says "hello there"."""
    async with session_stage(script, turn_timeout=turn_timeout, patience=YEARS) as it:
        it.store.tables.now = now
        await it.system.spawn(workspaces_spec(it.store))
        web = FakeWeb()
        services = HeartbeatServices(
            store=it.store.heartbeats, runs=it.store.heartbeat_runs, web=web, now=now, aside=inline, **more
        )
        await it.system.spawn(heartbeats_spec(services))
        yield Beats(it, web, services)
