"""What an agent writes down when a summary takes the place of a conversation's beginning."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock

from tests.actors.memory.test_extraction import VALET, Queue
from tests.support.storage import START, Store, at, closed, message, opened
from understudy.actors.agents.actor import agents_spec
from understudy.actors.agents.document import AgentTools
from understudy.actors.costs.prices import PriceBook
from understudy.actors.costs.purse import Purse
from understudy.actors.errors import DomainError, ProviderFailed, TimedOut
from understudy.actors.facts import fact
from understudy.actors.inference.messages import Finished, ModelRequest, ToolCallCompleted, ToolCallStarted
from understudy.actors.jobs.kinds import JobRun
from understudy.actors.jobs.messages import EnqueueJob, Job
from understudy.actors.memory.flush import FLUSH, Flush, flush_consumer
from understudy.actors.memory.vectors import Vectors
from understudy.actors.memory_profiles.actor import memory_profiles_spec
from understudy.runtime import ActorSystem, ChildSpec, SupervisorSpec
from understudy.storage.memory import MemoryStore
from understudy.storage.records import MemoryTier, OutboxItem, Role, Session, Usage

CLERK = attrs.evolve(
    VALET,
    id="clerk",
    document=msgspec.structs.replace(VALET.document, tools=AgentTools(allow=("memory_write", "shell_exec"))),
)
"""An agent on a real model who may write memory."""


class Model:
    """A model that makes the calls that the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] | DomainError = []
        self.asked: list[ModelRequest] = []
        self.hangs = False

    @asynccontextmanager
    async def stream(self, request: ModelRequest, budget: Any = None) -> AsyncIterator[AsyncIterator[Any]]:
        self.asked.append(request)
        if isinstance(self.calls, DomainError):
            raise self.calls
        calls = self.calls

        async def events() -> AsyncIterator[Any]:
            for index, (name, arguments) in enumerate(calls):
                yield ToolCallStarted(index, f"c{index}", name)
                yield ToolCallCompleted(index, f"c{index}", name, arguments)
            if self.hangs:
                await trio.sleep_forever()
            yield Finished("tool_calls", Usage(100, 20), request.model, provider=request.provider)

        yield events()


@attrs.define
class Stage:
    system: ActorSystem
    store: MemoryStore
    model: Model
    session: Session
    flush: Flush

    async def said(self) -> list[str]:
        """Four turns of a conversation; the ids of their messages."""
        store = Store(self.store, self.store.journal)  # type: ignore[arg-type]
        for number in range(4):
            turn = f"trn_{number}"
            said = message(self.session, turn, content=f"fact {number}")
            await store.write(opened(self.session, turn, message=said))
            answer = message(self.session, turn, role=Role.ASSISTANT, content=f"noted {number}")
            await store.write(closed(self.session, turn, message=answer))
        return [each.id for each in await self.store.sessions.messages(self.session.id, limit=100)]

    def job(self, first: str, last: str, agent: str = "clerk") -> Job:
        payload = {"sessionId": self.session.id, "agentId": agent, "first": first, "last": last}
        key = self.session.key
        return Job("job_1", FLUSH, payload, START, START, key.workspace_id, key.uid)

    async def run(self, job: Job) -> Any:
        return await self.flush.flush(JobRun(job, lambda: at(60)))

    def remembered(self) -> list[str]:
        return [each.content for each in self.store.tables.memories.values() if each.tier is MemoryTier.DAILY]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    store, model = MemoryStore(lambda: START), Model()
    session = await Store(store, store.journal).session()  # type: ignore[arg-type]
    async with ActorSystem("flush") as system:
        await system.spawn(agents_spec("builtin/rehearsal", store, seeds=(VALET, CLERK)))
        await system.spawn(memory_profiles_spec(store.memory_profiles))
        prices = PriceBook.shipped()
        purse = Purse(store.allowances, prices, lambda: at(60), user_monthly=100_000)
        flush = Flush(system, store.sessions, store.knowledge, model, Vectors(), prices, purse)
        yield Stage(system, store, model, session, flush)


async def test_the_model_is_asked_once_with_one_tool_and_what_it_saves_is_remembered(stage: Stage) -> None:
    first, *_, last, _, _ = await stage.said()
    stage.model.calls = [
        ("memory_write", '{"content": "Mira likes tea", "category": "decision"}'),
        ("shell_exec", '{"command": "rm -rf /"}'),
        ("memory_write", '{"content": "", "category": "decision"}'),
        ("memory_write", '{"content": "Mira likes tea."}'),
        ("memory_write", '{"content": "The launch is in May"}'),
    ]
    job = stage.job(first, last)
    assert [await stage.run(job) for _ in range(2)] == [{"written": 2}, {"written": 0}]
    assert stage.remembered() == ["Mira likes tea", "The launch is in May"]
    (asked,) = stage.model.asked
    assert [tool.name for tool in asked.tools] == ["memory_write"]
    assert (asked.temperature, asked.max_output_tokens) == (0.3, 2048)
    shown = asked.messages[-1].content
    assert "fact 0" in shown
    assert "noted 2" in shown
    assert "fact 3" not in shown, "what no summary stands for is not shown"
    (line,) = await stage.store.audit.of_user(stage.session.key.uid)
    assert (line.event, line.metadata["written"]) == ("memory.flushed", 2)


async def test_it_is_billed_and_counted_once(stage: Stage) -> None:
    first, *_, last = await stage.said()
    for _ in range(2):
        await stage.run(stage.job(first, last))
    assert [billed.charge.usage for billed in stage.store.tables.bill] == [Usage(100, 20)]
    month = START.replace(day=1, hour=0, minute=0, second=0)
    scope = f"user/tokens-per-month/{stage.session.key.uid}"
    assert await stage.store.costs.counter(scope, month) == (120, 0)


async def test_a_model_that_fails_fails_the_attempt_and_the_next_one_writes(stage: Stage) -> None:
    first, *_, last = await stage.said()
    stage.model.calls = ProviderFailed("it is down")
    with pytest.raises(ProviderFailed):
        await stage.run(stage.job(first, last))
    stage.model.calls = [("memory_write", '{"content": "Mira likes tea"}')]
    assert await stage.run(stage.job(first, last)) == {"written": 1}


async def test_a_model_that_comes_to_no_end_fails_the_attempt_and_half_of_it_is_not_all(
    autojump_clock: MockClock, stage: Stage
) -> None:
    first, *_, last = await stage.said()
    stage.model.calls, stage.model.hangs = [("memory_write", '{"content": "Mira likes tea"}')], True
    with pytest.raises(TimedOut):
        await stage.run(stage.job(first, last))
    assert stage.remembered() == []
    stage.model.calls, stage.model.hangs = [*stage.model.calls, ("memory_write", '{"content": "It rains"}')], False
    assert await stage.run(stage.job(first, last)) == {"written": 2}


@pytest.mark.parametrize("agent", ["chad", "valet", "nobody"])
async def test_agents_that_are_no_models_or_may_not_write_memory_are_not_asked(stage: Stage, agent: str) -> None:
    first, *_, last = await stage.said()
    assert (await stage.run(stage.job(first, last, agent)))["written"] == 0
    assert stage.model.asked == []


async def test_somebody_elses_conversation_is_not_read(stage: Stage) -> None:
    first, *_, last = await stage.said()
    job = attrs.evolve(stage.job(first, last), uid="usr_eve")
    assert (await stage.run(job))["written"] == 0
    assert stage.model.asked == []


async def test_a_summary_becomes_one_job_for_its_person(stage: Stage) -> None:
    key = stage.session.key
    data = {
        "agentId": "clerk",
        "sessionId": stage.session.id,
        "messagesCompacted": 4,
        "byModel": True,
        "firstMessageId": "msg_1",
        "lastMessageId": "msg_4",
    }
    entry = fact("agent.compacted", uid=key.uid, workspace_id=key.workspace_id, data=data, at=START)
    asked: list[EnqueueJob] = []
    await stage.system.spawn(SupervisorSpec("jobs", children=(ChildSpec("queue", Queue, args=(asked,)),)))
    consumer = flush_consumer(stage.system)
    assert consumer.wants("agent.compacted")
    await consumer.deliver(OutboxItem(entry.id, entry.topic, entry.workspace_id, entry.payload, START, 1))
    (job,) = asked
    assert (job.uid, job.type, job.dedupe_key) == (key.uid, FLUSH, "msg_4")
    assert job.payload == stage.job("msg_1", "msg_4").payload
