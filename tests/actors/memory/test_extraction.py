"""Learning from turns: what a job makes of one, once, and what it leaves alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from tests.support.storage import START, Store, at, closed, message, opened
from understudy.actors.agents.actor import agents_spec
from understudy.actors.agents.document import AgentDocument, AgentModel
from understudy.actors.agents.messages import AgentView, Source
from understudy.actors.costs.prices import PriceBook
from understudy.actors.costs.purse import Purse
from understudy.actors.errors import DomainError, ProviderFailed
from understudy.actors.facts import COMPLETED, fact
from understudy.actors.inference.messages import Finished, ModelRequest, TextDelta
from understudy.actors.jobs.kinds import JobRun
from understudy.actors.jobs.messages import EnqueueJob, Job
from understudy.actors.memory.actor import memory_spec
from understudy.actors.memory.extraction import EXTRACT, Extraction, extraction_consumer
from understudy.actors.memory.listener import Listener
from understudy.actors.memory.messages import MEMORY, Owner, Remember
from understudy.actors.memory.vectors import Vectors
from understudy.actors.memory_profiles.actor import memory_profiles_spec
from understudy.actors.memory_profiles.messages import (
    MEMORY_PROFILES,
    AssignMemoryProfile,
    Author,
    CreateMemoryProfile,
    MemoryConfig,
)
from understudy.runtime import Actor, ActorSystem, ChildSpec, SupervisorSpec, receive
from understudy.storage.memory import MemoryStore
from understudy.storage.records import MemoryTier, OutboxItem, Role, Session, ToolCall, Usage
from understudy.storage.spending import Reservation

VALET = AgentView(
    "valet",
    None,
    AgentDocument(
        display_name="Valet",
        description="",
        model=AgentModel(provider="openai", model_id="gpt-4.1-mini"),
        system_prompt_template="Serve.",
    ),
    version=1,
    revision="test",
    source=Source.GLOBAL,
)
"""An agent on a real model."""


class Model:
    """A model that answers what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: str | DomainError = "{}"
        self.asked: list[ModelRequest] = []

    @asynccontextmanager
    async def stream(self, request: ModelRequest, budget: Any = None) -> AsyncIterator[AsyncIterator[Any]]:
        self.asked.append(request)
        if isinstance(self.answer, DomainError):
            raise self.answer

        async def events() -> AsyncIterator[Any]:
            yield TextDelta(str(self.answer))
            yield Finished("stop", Usage(100, 20), request.model, provider=request.provider)

        yield events()


@attrs.define
class Stage:
    system: ActorSystem
    store: MemoryStore
    model: Model
    session: Session
    extraction: Extraction

    async def turn(self, said: str, *more: Any, agent: str = "chad") -> Job:
        """A turn that has ended, and the job to learn from it."""
        store = Store(self.store, self.store.journal)  # type: ignore[arg-type]
        turn = f"trn_{len(self.store.tables.turns)}"
        await store.write(opened(self.session, turn, message=message(self.session, turn, content=said)))
        for each in more:
            self.store.tables.messages[each.id] = attrs.evolve(
                each, turn_id=turn, position=len(self.store.tables.messages)
            )
        await store.write(closed(self.session, turn))
        payload = {"turnId": turn, "sessionId": self.session.id, "agentId": agent}
        key = self.session.key
        return Job("job_1", EXTRACT, payload, START, START, key.workspace_id, key.uid)

    async def learn(self, said: str, *more: Any, agent: str = "chad") -> Any:
        return await self.run(await self.turn(said, *more, agent=agent))

    async def run(self, job: Job) -> Any:
        return await self.extraction.extract(JobRun(job, lambda: at(60)))

    def remembered(self, tier: MemoryTier = MemoryTier.DAILY) -> list[str]:
        return [each.content for each in self.store.tables.memories.values() if each.tier is tier]

    @property
    def profile(self) -> Any:
        profile = self.store.tables.profiles.get(self.session.key.uid)
        return profile.content if profile is not None else {}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    store, model = MemoryStore(lambda: START), Model()
    session = await Store(store, store.journal).session()  # type: ignore[arg-type]
    async with ActorSystem("extraction") as system:
        await system.spawn(agents_spec("builtin/rehearsal", store, seeds=(VALET,)))
        await system.spawn(memory_spec(store.memories, lambda: at(60)))
        await system.spawn(memory_profiles_spec(store.memory_profiles))
        prices = PriceBook.shipped()
        purse = Purse(store.allowances, prices, lambda: at(60), user_monthly=5_000)
        listener = Listener(model)
        extraction = Extraction(system, store.sessions, store.knowledge, listener, Vectors(), prices, purse)
        yield Stage(system, store, model, session, extraction)


async def test_without_a_model_plain_words_are_understood_by_rules(stage: Stage) -> None:
    said = "My name is Mira. I like tea. We decided to ship on Tuesday. Anna works for Acme."
    assert await stage.learn(said) == {"learned": 5}
    assert stage.remembered() == ["I like tea", "We decided to ship on Tuesday"]
    assert stage.remembered(MemoryTier.GRAPH) == [
        "Anna (person): Anna works for Acme",
        "Acme (team): Anna works for Acme",
    ]
    assert stage.profile == {"name": "Mira"}
    assert stage.model.asked == []


async def test_a_job_that_is_done_again_writes_nothing_and_asks_nobody(stage: Stage) -> None:
    stage.model.answer = '{"daily": [{"content": "Mira likes tea"}], "profile": {"name": "Mira"}}'
    job = await stage.turn("I like tea", agent="valet")
    assert [await stage.run(job) for _ in range(2)] == [{"learned": 2}, {"learned": 0}]
    assert stage.remembered() == ["Mira likes tea"]
    assert len(stage.model.asked) == 1
    (billed,) = stage.store.tables.bill
    assert (billed.uid, billed.charge.usage, billed.charge.model) == (
        stage.session.key.uid,
        Usage(100, 20),
        "gpt-4.1-mini",
    )
    assert billed.charge.cost


async def test_the_model_sees_the_exchange_and_no_tools_and_its_fences_are_borne(stage: Stage) -> None:
    stage.model.answer = 'Sure!\n```json\n{"daily": [{"content": "ships on Tuesday", "category": "decision"}]}\n```'
    assert await stage.learn("we ship on Tuesday", agent="valet") == {"learned": 1}
    (asked,) = stage.model.asked
    assert asked.tools == ()
    assert asked.messages[-1].content == "USER: we ship on Tuesday\n\nASSISTANT: hi there"


async def test_an_answer_that_is_no_json_leaves_it_to_the_rules(stage: Stage) -> None:
    stage.model.answer = "I see no reason to answer with JSON."
    assert await stage.learn("I like tea", agent="valet") == {"learned": 1}
    assert stage.remembered() == ["I like tea"]


async def test_a_model_that_fails_fails_the_attempt_and_the_next_one_learns(stage: Stage) -> None:
    stage.model.answer = ProviderFailed("upstream is on fire")
    job = await stage.turn("I like tea", agent="valet")
    with pytest.raises(ProviderFailed):
        await stage.run(job)
    assert stage.remembered() == []
    stage.model.answer = '{"daily": [{"content": "Mira likes tea"}]}'
    assert await stage.run(job) == {"learned": 1}


async def test_what_a_tool_wrote_in_the_turn_is_not_written_again(stage: Stage) -> None:
    key = stage.session.key
    await stage.system.ask(MEMORY, Remember(Owner(key.workspace_id, key.uid), "I like tea"))
    wrote = message(
        stage.session,
        None,
        Role.ASSISTANT,
        "",
        tool_calls=(ToolCall("c1", "memory_write", '{"content": "I like tea"}'),),
    )
    assert await stage.learn("Remember that I like tea", wrote) == {"learned": 0}
    assert stage.remembered() == ["I like tea"]
    stage.store.tables.memories.clear()  # its person deleted it before the job ran
    assert await stage.learn("Remember that I like tea", wrote) == {"learned": 0}
    assert stage.remembered() == []


async def test_what_is_said_again_on_another_day_is_known(stage: Stage) -> None:
    assert await stage.learn("I like tea.") == {"learned": 1}
    assert await stage.learn("i like tea!") == {"learned": 0}


async def test_an_agent_whose_memory_profile_says_so_learns_nothing_or_for_a_time(stage: Stage) -> None:
    author = Author(stage.session.key.workspace_id, stage.session.key.uid)

    async def assign(name: str, config: MemoryConfig) -> None:
        made = await stage.system.ask(MEMORY_PROFILES, CreateMemoryProfile(author, name, None, config))
        await stage.system.ask(MEMORY_PROFILES, AssignMemoryProfile(author, "chad", made.id))

    await assign("forgetful", MemoryConfig(extract=False))
    assert (await stage.learn("I like tea"))["learned"] == 0
    await assign("brief", MemoryConfig(ttl_days=3))
    await stage.learn("I like coffee")
    (entry,) = stage.store.tables.memories.values()
    assert entry.expires_at is not None
    assert (entry.expires_at - entry.created_at).days == 3


@pytest.mark.parametrize("gone", ["agent", "turn", "user"])
async def test_what_is_gone_teaches_nothing(stage: Stage, gone: str) -> None:
    job = await stage.turn("I like tea", agent="nobody" if gone == "agent" else "chad")
    if gone == "turn":
        job = attrs.evolve(job, payload={**job.payload, "turnId": "trn_unknown"})
    if gone == "user":
        job = attrs.evolve(job, uid="usr_other")
    assert (await stage.run(job))["learned"] == 0
    assert stage.remembered() == []


class Queue(Actor):
    """Stands where jobs are asked for."""

    def __init__(self, asked: list[EnqueueJob]) -> None:
        self._asked = asked

    @receive
    def enqueue(self, message: EnqueueJob) -> Job:
        self._asked.append(message)
        return Job("job_1", message.type, message.payload, START, START)


@pytest.mark.parametrize(
    ("said", "model", "surface", "worth"),
    [
        ("I like tea", "builtin/rehearsal", "chat", True),
        ("What do I like, and when, and why?", "builtin/rehearsal", "chat", False),
        ("Our launch is in May, by the way", "openai/gpt-4.1-mini", "group", True),
        ("thanks a lot", "openai/gpt-4.1-mini", "chat", False),
        ("I like tea", "builtin/rehearsal", "prop", False),
        ("I like tea", "builtin/rehearsal", "job", False),
    ],
)
async def test_the_end_of_a_turn_that_may_teach_something_becomes_one_job_for_its_person(
    stage: Stage, said: str, model: str, surface: str, *, worth: bool
) -> None:
    turn, key = (await stage.turn(said)).payload, stage.session.key
    data = {**turn, "surface": surface, "model": model}
    entry = fact(COMPLETED, uid=key.uid, workspace_id=key.workspace_id, data=data, at=START)
    told = OutboxItem(entry.id, entry.topic, entry.workspace_id, entry.payload, START, 1)
    asked: list[EnqueueJob] = []
    await stage.system.spawn(SupervisorSpec("jobs", children=(ChildSpec("queue", Queue, args=(asked,)),)))
    consumer = extraction_consumer(stage.system, stage.store.sessions, Listener(stage.model))
    assert consumer.wants(COMPLETED)
    assert not consumer.wants("agent.failed")
    await consumer.deliver(told)
    assert [(job.uid, job.workspace_id, job.type, job.dedupe_key, job.payload) for job in asked] == [
        (key.uid, key.workspace_id, EXTRACT, turn["turnId"], turn)
    ] * worth


async def counter(stage: Stage) -> tuple[int, int]:
    """What of Mira's allowance of this month is used, and what is spoken for."""
    scope, month = f"user/tokens-per-month/{stage.session.key.uid}", START.replace(day=1, hour=0, minute=0, second=0)
    return await stage.store.costs.counter(scope, month)


async def test_what_learning_costs_counts_against_the_allowance_once_whatever_comes_of_it(stage: Stage) -> None:
    stage.model.answer = '{"daily": [{"content": "Mira likes tea"}]}'
    job = await stage.turn("I like tea very much", agent="valet")
    for _ in range(2):
        await stage.run(job)
    assert await counter(stage) == (120, 0)
    stage.model.answer = "{}"
    await stage.learn("what is the time in Lisbon", agent="valet")
    assert await counter(stage) == (240, 0)
    stage.model.answer = ProviderFailed("it is down")
    with pytest.raises(ProviderFailed):
        await stage.learn("I like coffee even more", agent="valet")
    assert (await counter(stage))[1] == 0


async def test_a_turn_is_not_learned_from_when_its_allowance_does_not_suffice(stage: Stage) -> None:
    month = START.replace(day=1, hour=0, minute=0, second=0)
    spent = Reservation(f"user/tokens-per-month/{stage.session.key.uid}", month, 4_900, 5_000)
    await stage.store.allowances.reserve("trn_running", (spent,), now=START, lapses_at=at(9999))
    stage.model.answer = '{"daily": [{"content": "Mira likes tea"}]}'
    assert (await stage.learn("I like tea very much", agent="valet"))["learned"] == 0
    assert stage.model.asked == []
    assert await counter(stage) == (0, 4_900)
    assert await stage.learn("I like tea") == {"learned": 1}, "rules cost nothing"
