"""Learning from a turn once it has ended, as a job: the answer waits for nothing of it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import attrs
import msgspec
import structlog

from understudy.actors.agents.config import AgentConfig
from understudy.actors.agents.messages import AGENTS, ResolveAgent
from understudy.actors.asking import Asker
from understudy.actors.audit.messages import Author, act_of
from understudy.actors.costs.prices import PriceBook
from understudy.actors.costs.purse import Purse
from understudy.actors.errors import Forbidden, Invalid, NotFound, TooLarge
from understudy.actors.facts import COMPLETED, read_fact
from understudy.actors.jobs.kinds import JobKind, JobResult, JobRun
from understudy.actors.jobs.messages import JOBS, EnqueueJob
from understudy.actors.jobs.payloads import Fields, fits, read
from understudy.actors.memory.lessons import Heard, profile_patch, sift, without
from understudy.actors.memory.listener import Listener, question
from understudy.actors.memory.merging import check_size, merge_patch
from understudy.actors.memory.messages import LONGEST_ENTRY, MOST_A_DAY, MemoryTier
from understudy.actors.memory.recall import memory_config
from understudy.actors.memory.vectors import Vectors
from understudy.actors.memory_profiles.messages import MemoryConfig
from understudy.actors.session.chronicle import Chronicle
from understudy.actors.store.outbox import Consumer
from understudy.storage.records import AuditEntry, Json, MemoryEntry, Message, OutboxItem, SessionKey, new_id
from understudy.storage.remembered import Edge, Entity, Lesson, Procedure, Sift, key_of
from understudy.storage.spending import Charge

EXTRACT = "memory.extract"
PATIENCE = 10.0
HEARD_ON = frozenset({"chat", "group"})
"""Surfaces on which people speak. On others a program does, with what it found on some page: nobody said that."""
TOLD_BY = frozenset({"memory_write", "note_add", "workspace_memory_write"})
"""Tools that write down what they are given: it is not remembered twice."""

log = structlog.get_logger("understudy.memory")


class ExtractTurn(Fields, frozen=True):
    """Which turn to learn from."""

    turn_id: str
    session_id: str
    agent_id: str


class Turns(Protocol):
    """Turns as they were."""

    async def turn_messages(self, session_id: str, turn_id: str, *, uid: str) -> Sequence[Message]:
        """The messages of a turn of the user's, in their order; none of what was taken back."""
        ...


class Knowledge(Protocol):
    """Where what is learned goes; see `storage.knowledge`."""

    async def entities(self, workspace_id: str, uid: str, keys: Sequence[str]) -> Mapping[str, Entity]:
        """What is known of things, by key."""
        ...

    async def learned(self, turn_id: str) -> bool:
        """Whether the turn was learned from already."""
        ...

    async def learn(
        self,
        turn_id: str,
        workspace_id: str,
        uid: str,
        lesson: Lesson,
        audit: AuditEntry,
        *,
        sift: Sift,
        merge: Callable[[Json, Json], Json],
        most_a_day: int,
        now: datetime,
        charges: Sequence[Charge] = (),
        holder: str | None = None,
    ) -> int | None:
        """Remember a lesson, once."""
        ...


def extraction_consumer(system: Asker, turns: Turns, listener: Listener) -> Consumer:
    """Who turns the end of a turn into a job, one for each turn however often it is told.

    A turn that cannot teach anything is no job: looking at what was said costs far less than having one.
    """

    async def deliver(item: OutboxItem) -> None:
        told = read_fact(item)
        if told.uid is None or told.workspace_id is None or told.data.get("surface") not in HEARD_ON:
            return
        turn_id, session_id = str(told.data["turnId"]), str(told.data["sessionId"])
        messages = await turns.turn_messages(session_id, turn_id, uid=told.uid)
        if not await listener.may_hear(messages, str(told.data.get("model") or "")):
            return
        job = EnqueueJob(
            told.uid,
            told.workspace_id,
            EXTRACT,
            {"turnId": turn_id, "sessionId": session_id, "agentId": told.data["agentId"]},
            timeout_seconds=120,
            priority=-10,
            dedupe_key=turn_id,
        )
        try:
            await system.ask(JOBS, job, timeout=PATIENCE)
        except (Invalid, NotFound, Forbidden) as refusal:  # it will not be taken later either
            log.warning("a turn is not learned from", turn=turn_id, error=refusal.message)

    return Consumer("memory", frozenset({COMPLETED}), deliver)


@attrs.frozen
class Extraction:
    """Learns from turns. ``listener`` hears what is worth it; what is new is written with what hearing it cost.

    What a model is asked for that is counted against the allowances of its agent and user, with a ``purse``.
    """

    system: Asker
    turns: Turns
    knowledge: Knowledge
    listener: Listener
    vectors: Vectors
    prices: PriceBook
    purse: Purse | None = None

    def kind(self) -> JobKind:
        """The type of job."""
        return JobKind(EXTRACT, self.extract, fits(ExtractTurn))

    async def extract(self, run: JobRun) -> JobResult:
        """Learn from the job's turn, once: a job that is done again changes nothing, and asks no model again.

        Raises a `DomainError` when the model fails, `StoreUnavailable` without a database: the job is tried again.
        """
        asked, uid, workspace_id = read(ExtractTurn, run.job.payload), run.job.uid, run.job.workspace_id
        if uid is None or workspace_id is None or await self.knowledge.learned(asked.turn_id):
            return {"learned": 0}
        key = SessionKey(workspace_id, uid, asked.agent_id, "", "")
        try:
            agent = await self.system.ask(AGENTS, ResolveAgent(workspace_id, asked.agent_id), timeout=PATIENCE)
        except (NotFound, Forbidden):
            return {"learned": 0, "because": "the agent is gone"}
        config = await memory_config(self.system, key, agent.memory_profile_id)
        if not config.extract:
            return {"learned": 0, "because": "the agent's memory profile says so"}
        told = await self.turns.turn_messages(asked.session_id, asked.turn_id, uid=uid)
        if not told:
            return {"learned": 0, "because": "nothing is left of the turn"}
        notes = Chronicle(self.prices, run.now, request_id=None, traceparent=None)
        if self.purse is None or not self.listener.asks(agent):
            return await self._learn(run, asked, agent, key, config, told, notes, None)
        holder = f"learn/{asked.turn_id}"
        async with self.purse.spending(holder, agent, key, question(agent, told), notes) as suffices:
            if not suffices:
                return {"learned": 0, "because": "an allowance does not suffice"}
            return await self._learn(run, asked, agent, key, config, told, notes, holder)

    async def _learn(
        self,
        run: JobRun,
        asked: ExtractTurn,
        agent: AgentConfig,
        key: SessionKey,
        config: MemoryConfig,
        told: Sequence[Message],
        notes: Chronicle,
        holder: str | None,
    ) -> JobResult:
        uid, workspace_id = key.uid, key.workspace_id
        heard = without(await self.listener.hear(agent, told, notes), written_down(told))
        if heard.nothing and not notes.charges:
            return {"learned": 0}
        now = run.now()
        lesson = await self._lesson(heard, key, config, now)
        by, turn = Author(workspace_id, uid), {"turn": asked.turn_id}
        audit = act_of(by, "memory.learned", now, turn, agent_id=asked.agent_id, session_id=asked.session_id)
        learned = await self.knowledge.learn(
            asked.turn_id,
            workspace_id,
            uid,
            lesson,
            audit,
            sift=sift,
            merge=merge_profile,
            most_a_day=MOST_A_DAY,
            now=now,
            charges=notes.charges,
            holder=holder,
        )
        return {"learned": learned or 0}

    async def _lesson(self, heard: Heard, key: SessionKey, config: MemoryConfig, now: datetime) -> Lesson:
        """What was heard as it is stored: with vectors, and things together with what is known of them."""
        names = {key_of(thing.name): thing for thing in heard.entities if key_of(thing.name)}
        known = await self.knowledge.entities(key.workspace_id, key.uid, list(names)) if names else {}
        texts = [noted.content for noted in heard.daily]
        texts += [described(thing.name, thing.type, thing.fact, known.get(name)) for name, thing in names.items()]
        habits = [habit for habit in heard.procedures if key_of(habit.trigger)]
        texts += [f"{habit.trigger}: {'; '.join(habit.steps)}"[:LONGEST_ENTRY] for habit in habits]
        made = iter(await self.vectors.of(*texts, patience=30.0) or ())

        def entry(tier: MemoryTier, category: str, content: str, weight: float = 1.0) -> MemoryEntry:
            vector = next(made, ())
            expires = now + timedelta(days=config.ttl_days) if config.ttl_days is not None else None
            return MemoryEntry(
                new_id("mem"),
                key.workspace_id,
                key.uid,
                tier,
                now.date(),
                category,
                content,
                now,
                weight,
                self.vectors.name if vector else "",
                vector,
                expires,
            )

        content = iter(texts)
        daily = tuple(entry(MemoryTier.DAILY, noted.category, next(content)) for noted in heard.daily)
        entities = tuple(
            Entity(entry(MemoryTier.GRAPH, thing.type.value, next(content), 0.5), thing.name, thing.type)
            for thing in names.values()
        )
        procedures = tuple(
            Procedure(entry(MemoryTier.PROCEDURAL, "procedure", next(content), 0.5), habit.trigger, tuple(habit.steps))
            for habit in habits
        )
        edges = tuple(Edge(key_of(tie.source), key_of(tie.target), tie.relation) for tie in heard.relations)
        return Lesson(daily, profile_patch(heard), entities, edges, procedures)


def written_down(told: Sequence[Message]) -> list[str]:
    """What a tool wrote down in the turn."""
    texts = []
    for message in told:
        for call in message.tool_calls:
            if call.name in TOLD_BY:
                try:
                    arguments = msgspec.json.decode(call.arguments, type=dict[str, object])
                except (msgspec.DecodeError, UnicodeError, RecursionError):
                    continue
                texts += [
                    value for name, value in arguments.items() if name in {"content", "note"} and isinstance(value, str)
                ]
    return texts


def described(name: str, type_: str, fact: str, known: Entity | None) -> str:
    """What is known of a thing with *fact* added, unless it says that already."""
    before = known.entry.content if known is not None else f"{name} ({type_})"
    fact = fact.strip()
    if not fact or key_of(fact) in key_of(before):
        return before
    after = f"{before}; {fact}" if known is not None and ":" in before else f"{before}: {fact}"
    return after if len(after) <= LONGEST_ENTRY else before


def merge_profile(before: Json, patch: Json) -> Json:
    """The profile with what was learned; as it was, when there is no room for that."""
    after: Json = merge_patch(before, patch)
    try:
        return check_size(after)
    except TooLarge:
        return before
