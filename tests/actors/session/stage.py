"""A stage for sessions: the real actors over the memory store, with models that speak on cue."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import FunctionType
from typing import Any

import attrs
import trio

from understudy.actors.agents.config import AgentConfig
from understudy.actors.agents.messages import AGENTS, ResolveAgent
from understudy.actors.errors import NotFound
from understudy.actors.inference.messages import Finished, ModelEvent, ModelRequest, TextDelta, ToolSpec
from understudy.actors.inference.retry import RetryBudget
from understudy.actors.nodes.calls import NodeCalls
from understudy.actors.nodes.ports import Membership
from understudy.actors.session.messages import DIRECTORY, StartTurn, TurnStarted, session_address
from understudy.actors.session.services import SessionServices
from understudy.actors.session.tree import sessions_spec
from understudy.actors.tools.messages import ToolContext, ToolResult
from understudy.runtime import Actor, ActorSystem, ChildSpec, Lagged, receive
from understudy.storage.entries import Entry
from understudy.storage.errors import StorageError
from understudy.storage.memory import MemoryStore
from understudy.storage.records import RunEvent, SessionKey, ToolCall, Usage, User, Workspace, new_id

KEY = SessionKey("ws_1", "usr_1", "chad", "chat", "main")
CHAD = AgentConfig("chad", "Chad", "", "test", "script", "You are Chad.", tools=("echo",))
SERVICES = ("turn_timeout", "window", "thresholds", "ground", "consent", "health", "prices", "purse")
"""What of the sessions' services a test may choose; a function is given the stage."""
BOUND = 20.0
TERMINAL = frozenset({"done", "error"})


class Agents(Actor):
    """Knows the stage's agents."""

    def __init__(self, stage: "Stage") -> None:
        self._stage = stage

    @receive
    def resolve(self, message: ResolveAgent) -> AgentConfig:
        stage = self._stage
        agent = stage.agent if message.agent_id == stage.agent.id else stage.others.get(message.agent_id)
        if agent is None:
            raise NotFound("there is no such agent")
        return agent


class Tools:
    """One tool: it says back what it was given, after its cue if there is one."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.cue: trio.Event | None = None

    def specs(self, names: Collection[str] | None = None) -> tuple[ToolSpec, ...]:
        return tuple(ToolSpec(name, "says it back", {"type": "object"}) for name in names or ())

    def is_serial(self, name: str) -> bool:
        return name == "alone"

    async def run(self, call: ToolCall, context: ToolContext, *, allowed: Collection[str] | None = None) -> ToolResult:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.cue is not None:
                await self.cue.wait()
        finally:
            self.running -= 1
        return ToolResult(call.id, call.name, ok=True, content=f"echo {call.arguments}", duration_ms=1)


Script = Callable[["Line"], AsyncIterator[ModelEvent]]


@attrs.define
class Line:
    """One inference as the script sees it."""

    request: ModelRequest
    number: int


class Models:
    """Plays the script; counts the streams that are open."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[ModelRequest] = []
        self.budgets: list[RetryBudget | None] = []
        self.open = 0

    @asynccontextmanager
    async def stream(
        self, request: ModelRequest, budget: RetryBudget | None = None
    ) -> AsyncGenerator[AsyncIterator[ModelEvent], None]:
        self.budgets.append(budget)
        self.requests.append(request)
        self.open += 1
        try:
            yield self.script(Line(request, len(self.requests) - 1))
        finally:
            self.open -= 1


class Writer:
    """The journal of the memory store, one group at a time."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def write(self, *entries: Entry) -> None:
        await trio.lowlevel.checkpoint()
        (problem,) = await self._store.journal.write([entries])
        if problem is not None:
            raise problem

    async def write_groups(self, groups: Sequence[tuple[Entry, ...]]) -> Sequence[StorageError | None]:
        await trio.lowlevel.checkpoint()
        return await self._store.journal.write(groups)


async def say(*words: str) -> AsyncIterator[ModelEvent]:
    """An answer of these words."""
    for word in words:
        await trio.lowlevel.checkpoint()
        yield TextDelta(word)
    yield Finished("stop", Usage(10, len(words)), "script-1")


@attrs.frozen
class Run:
    """One run of a node that had none before."""

    id: str
    predecessor: str | None = None

    def settle(self) -> None:
        pass


@attrs.define(eq=False)
class Stage:
    """Everything a test of sessions touches."""

    system: ActorSystem
    store: MemoryStore
    models: Models
    tools: Tools
    agent: AgentConfig = CHAD
    others: dict[str, AgentConfig] = attrs.field(factory=dict)
    time: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def pass_time(self, **units: float) -> None:
        """Let the wall clock go on."""
        self.time += timedelta(**units)

    async def start(self, message: str, **fields: Any) -> TurnStarted:
        """Start a turn in the one conversation."""
        return await self.system.ask(DIRECTORY, StartTurn(fields.pop("key", KEY), message, **fields), timeout=60)

    async def read(self, turn: TurnStarted) -> list[RunEvent]:
        """The turn's events to the last."""
        events: list[RunEvent] = []
        async with self.system.subscribe(session_address(turn.session_id), after=turn.after) as stream:
            async for item in stream:
                if isinstance(item, Lagged):
                    continue
                if item.event.turn_id == turn.turn_id:
                    events.append(item.event)
                    if item.event.type in TERMINAL:
                        break
        return events

    async def chat(self, message: str, **fields: Any) -> list[RunEvent]:
        """A whole turn."""
        return await self.read(await self.start(message, **fields))


@asynccontextmanager
async def stage(
    script: Script | None = None,
    *,
    agent: AgentConfig = CHAD,
    patience: float = BOUND,
    beside: "Stage | None" = None,
    node: str | None = None,
    **bounds: Any,
) -> AsyncGenerator[Stage, None]:
    """The stage, set; by default the model says "hello there". Whatever hangs on it fails after *patience* seconds.

    Named as a *node*, it has a lease of 15 s; *beside* another one, it is on the same database.
    """
    if beside is None:
        store = MemoryStore(lambda: it.now())
        born = datetime(2026, 11, 1, tzinfo=UTC)
        await store.users.create(
            User(KEY.uid, "mira@example.org", "", born), Workspace(KEY.workspace_id, "Mira", KEY.uid, "personal", born)
        )
    else:
        store = beside.store
    tools = Tools()
    models = Models(script or (lambda line: say("hello ", "there")))
    # Here and not in a fixture: pytest-trio's fixtures are tasks of their own, whose scopes hold no test.
    with trio.fail_after(patience):
        async with ActorSystem("stage") as system:
            it = Stage(system, store, models, tools, agent)
            services = SessionServices(
                store=store.sessions,
                writer=Writer(store),
                models=models,
                tools=_made(bounds.pop("tools", tools), it),
                now=it.now,
                compaction=store.compaction,
                node=node or new_id("nod"),
                calls=NodeCalls(store.nodes),
                requests=store.approvals,
                **{name: _made(bounds.pop(name), it) for name in SERVICES if name in bounds},
            )
            await system.spawn(ChildSpec(AGENTS, Agents, args=(it,)))
            membership = Membership(store.nodes, Run(node)) if node is not None else None
            await system.spawn(sessions_spec(services, membership=membership, **bounds))
            yield it


def _made(given: Any, it: Stage) -> Any:
    return given(it) if isinstance(given, FunctionType) else given


def types(events: Sequence[RunEvent]) -> list[str]:
    """What happened, in order."""
    return [event.type for event in events]


def text(events: Sequence[RunEvent]) -> str:
    """What was streamed."""
    return "".join(event.data["content"] for event in events if event.type == "content")
