"""Ended turns in memory, and a collector that answers as the test says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import attrs
import msgspec
import trio

from tests.support.otlp import turns_in
from tests.support.storage import START, Store, at, closed, opened
from understudy.actors.facts import COMPLETED, fact
from understudy.actors.traces.export import ExportPlan, export_spec
from understudy.actors.traces.messages import EXPORT, ExportState, GetExport
from understudy.actors.traces.ports import CollectorAway, CollectorRefused, Taken
from understudy.actors.traces.waiting import WaitingTraces, trace_consumer
from understudy.runtime import ActorSystem
from understudy.runtime.testing import open_system
from understudy.storage.journal import Journal
from understudy.storage.memory import MemoryStore
from understudy.storage.records import OutboxItem, Session, Usage, new_id
from understudy.storage.repositories import Repositories
from understudy.storage.spending import Charge, Span, TurnTrace

SPANS = (
    Span("resolve_session", 0.1, 4.0, {"isNew": True}),
    Span("memory", 4.5, 0.5, {"values": ["lasting.profile"]}),
    Span("context", 5.0, 0.5, {"messages": 4, "tokens": 812}),
    Span(
        "inference",
        6.0,
        900.0,
        {
            "provider": "claude",
            "model": "opus",
            "promptTokens": 100,
            "completionTokens": 20,
            "cachedTokens": 50,
            "costMicros": 2_100,
            "estimated": False,
            "finishReason": "tool_calls",
            "toolCalls": 1,
            "attempts": 2,
        },
    ),
    Span("approval", 906.0, 1.0, {"name": "web_search", "requestId": "apr_1", "status": "approved"}),
    Span("tool", 907.0, 30.0, {"name": "web_search", "ok": False, "toolCallId": "c1", "arguments": '{"q": "sesame"}'}),
    Span("inference", 940.0, 10.0, {"provider": "groq", "model": "llama", "attempts": 3, "error": "TIMEOUT"}),
)


@attrs.define
class Listening:
    """Answers each request with the next of ``script``, and takes all when it is used up. ``at`` is when each came."""

    script: list[Exception | Taken] = attrs.field(factory=list)
    gate: trio.Event = attrs.field(factory=trio.Event)
    bodies: list[Any] = attrs.field(factory=list)
    at: list[float] = attrs.field(factory=list)
    place: str = "http://collector.example"

    async def send(self, body: bytes) -> Taken:
        self.at.append(trio.current_time())
        await self.gate.wait()
        answer = self.script.pop(0) if self.script else Taken()
        if isinstance(answer, Exception):
            raise answer
        self.bodies.append(msgspec.json.decode(body))
        return answer

    def close(self) -> None:
        """Nothing is kept."""

    @property
    def turns(self) -> list[str]:
        """The turns whose traces were taken, in their order."""
        return [turn for body in self.bodies for turn in turns_in(body)]


AWAY, FULL, NO = (
    CollectorAway("it is away"),
    CollectorAway("it answered 429", 30.0),
    CollectorRefused("it answered 400"),
)


@attrs.define
class Stage:
    """What a test has in its hands."""

    system: ActorSystem
    memory: MemoryStore
    store: Store
    session: Session
    collector: Listening
    waiting: WaitingTraces

    async def turn(self, *, spans: tuple[Span, ...] = SPANS, tell: bool = True) -> str:
        """A turn that has ended, told of as the outbox does."""
        begin = opened(self.session)
        end = closed(
            self.session,
            begin.turn_id,
            charges=(Charge("claude", "opus", Usage(100, 20), START, 2_100),),
            trace=TurnTrace(new_id("trc"), spans, "req-1", "ab" * 16, "cd" * 8, 2, 1),
            finished_at=at(1.84),
        )
        await self.store.write(begin)
        await self.store.write(end)
        if tell:
            await self.tell(begin.turn_id)
        return begin.turn_id

    async def tell(self, turn_id: str, event: str = COMPLETED) -> None:
        """The fact that the turn has ended."""
        data = {"turnId": turn_id, "durationMs": 1840}
        told = fact(event, uid="usr_1", workspace_id=self.session.key.workspace_id, data=data, at=at(1.84))
        await trace_consumer(self.waiting).deliver(
            OutboxItem(told.id, told.topic, told.workspace_id, told.payload, told.created_at, 1)
        )

    async def state(self) -> ExportState:
        """How the export goes."""
        return await self.system.ask(EXPORT, GetExport())


@asynccontextmanager
async def staged(*script: Exception | Taken, shut: bool = False, most: int = 100) -> AsyncIterator[Stage]:
    """An exporter at work; a *shut* collector answers nothing until its gate is set."""
    memory = MemoryStore()
    store = Store(cast("Repositories", memory), cast("Journal", memory.journal))
    collector, waiting = Listening(list(script)), WaitingTraces(most)
    if not shut:
        collector.gate.set()
    async with open_system() as system:
        await system.spawn(export_spec(ExportPlan(collector, waiting), memory.traces))
        yield Stage(system, memory, store, await store.session(), collector, waiting)
