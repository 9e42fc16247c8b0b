"""A conversation that grows too long is told in short, and nothing of it is lost."""

from collections.abc import AsyncIterator, Callable

import attrs
import pytest
import trio
import trio.lowlevel

from tests.actors.session.stage import CHAD, KEY, Line, Stage, say, stage, text, types
from understudy.actors.costs.prices import PriceBook
from understudy.actors.costs.purse import Purse
from understudy.actors.errors import DomainError, Unavailable
from understudy.actors.inference.errors import ContextTooLong
from understudy.actors.inference.messages import Finished, ModelEvent, TextDelta
from understudy.actors.session.compaction import Thresholds
from understudy.actors.session.messages import DIRECTORY, GetSession, Reset, SessionDetail, session_address
from understudy.storage.errors import StoreUnavailable
from understudy.storage.records import Usage

SMALL = attrs.evolve(CHAD, max_context_tokens=1500, max_output_tokens=500, tools=())
"""Room for 4,000 characters."""


def asks_for_summary(line: Line) -> bool:
    return line.request.messages[0].content.startswith("You keep the minutes")


def script(line: Line) -> AsyncIterator[ModelEvent]:
    return say("Mira likes tea.") if asks_for_summary(line) else say("noted ", "x" * 300)


async def talk(it: Stage, turns: int) -> str:
    for number in range(turns):
        events = await it.chat(f"fact {number}: {'y' * 300}")
        assert types(events)[-1] == "done", events[-1].data
    return str(events[-1].data["sessionId"])


async def detail(it: Stage, session_id: str) -> SessionDetail:
    return await it.system.ask(DIRECTORY, GetSession(KEY.uid, session_id, limit=200))


async def until_summarised(it: Stage, session_id: str) -> SessionDetail:
    while (found := await detail(it, session_id)).session.summary is None:
        await trio.lowlevel.checkpoint()
    return found


async def test_at_the_hard_mark_the_turn_waits_for_a_summary_and_goes_on_with_it() -> None:
    async with stage(script, agent=SMALL, thresholds=Thresholds(soft=1.0, hard=0.8)) as it:
        session_id = await talk(it, 8)
        found = await detail(it, session_id)
        assert found.session.summary == "Mira likes tea."
        assert (found.session.message_count, len(found.messages)) == (16, 16)
        flags = [m.compacted for m in found.messages]
        assert flags == sorted(flags, reverse=True)
        assert 0 < sum(flags) < 16
        sent = it.models.requests[-1].messages
        assert sent[0].content.endswith("What was said before, in short:\nMira likes tea.")
        assert sum(len(m.content) for m in sent) < 4000
        events = [e.type for e in await it.store.sessions.events(session_id, 0, 1000)]
        assert "compacted" in events
        facts = [o.item for o in it.store.tables.outbox.values() if o.item.topic == "agent.compacted"]
        assert len(facts) == events.count("compacted")


async def test_at_the_soft_mark_it_is_summarised_after_the_turn_and_billed_to_it() -> None:
    async with stage(script, agent=SMALL, thresholds=Thresholds(soft=0.5, hard=1.0)) as it:
        session_id = await talk(it, 4)
        found = await until_summarised(it, session_id)
        assert "compacted" not in [e.type for e in await it.store.sessions.events(session_id, 0, 1000)]
        asked = [line for line in it.models.requests if line.messages[0].content.startswith("You keep the minutes")]
        assert asked[0].temperature == 0.3
        assert len(it.store.tables.bill) == 4 + len(asked)
        await it.chat("and now?")
        assert it.models.requests[-1].messages[0].content.endswith(found.session.summary or "")


async def test_a_summary_under_way_holds_up_neither_the_next_turn_nor_a_reset() -> None:
    cue = trio.Event()

    async def slow() -> AsyncIterator[ModelEvent]:
        await cue.wait()
        yield TextDelta("late")
        yield Finished("stop", Usage(1, 1), "script-1")

    def held(line: Line) -> AsyncIterator[ModelEvent]:
        return slow() if asks_for_summary(line) else say("noted ", "x" * 300)

    async with stage(held, agent=SMALL, thresholds=Thresholds(soft=0.5, hard=1.0)) as it:
        session_id = await talk(it, 5)
        while it.models.open == 0:
            await trio.lowlevel.checkpoint()
        assert text(await it.chat("quick?")).startswith("noted")
        done = await it.system.ask(DIRECTORY, Reset(KEY))
        assert done.archived_session_id == session_id
        while it.models.open:
            await trio.lowlevel.checkpoint()
        assert (await detail(it, session_id)).session.summary is None


async def test_a_killed_session_keeps_its_summary_and_models_are_told_the_same_after_it() -> None:
    async with stage(script, agent=SMALL, thresholds=Thresholds(soft=0.5, hard=1.0)) as it:
        session_id = await talk(it, 4)
        before = await until_summarised(it, session_id)
        await it.system.kill(session_address(session_id))
        await it.chat("still there?")
        sent = it.models.requests[-1].messages
        assert sent[0].content.endswith("Mira likes tea.")
        kept = [m.content for m in before.messages if not m.compacted]
        assert [m.content for m in sent[1:-1]] == kept


async def test_a_model_that_cannot_summarise_does_not_matter() -> None:
    def failing(line: Line) -> AsyncIterator[ModelEvent]:
        if asks_for_summary(line):
            raise Unavailable("not now")
        return say("Noted. ", "x" * 300)

    async with stage(failing, agent=SMALL, thresholds=Thresholds(soft=1.0, hard=0.8)) as it:
        session_id = await talk(it, 8)
        summary = (await detail(it, session_id)).session.summary
        assert summary is not None
        assert summary.splitlines()[1] == "Agent: Noted."


async def test_what_the_provider_finds_too_long_is_sent_once_more_with_less_of_it() -> None:
    def picky(line: Line) -> AsyncIterator[ModelEvent]:
        if asks_for_summary(line):
            return say("In short.")
        if line.request.messages[-1].content == "go" and not any(
            "In short." in m.content for m in line.request.messages
        ):
            raise ContextTooLong("too long", status=400)
        return say("noted ", "x" * 300)

    async with stage(picky, agent=SMALL, thresholds=Thresholds(soft=1.0, hard=1.0)) as it:
        await talk(it, 3)
        events = await it.chat("go")
        assert (types(events)[-1], text(events)[:5]) == ("done", "noted")
        assert "compacted" in types(events)
        assert it.models.budgets[-1] is not None
        assert it.models.budgets[-1].spent == 1


async def test_what_stays_too_long_is_an_honest_error_and_the_next_turn_is_free_of_it() -> None:
    def never(line: Line) -> AsyncIterator[ModelEvent]:
        if line.request.messages[-1].content == "go":
            raise ContextTooLong("too long", status=400)
        return say("ok")

    async with stage(never, agent=SMALL) as it:
        events = await it.chat("go")
        assert events[-1].data["code"] == "CONTEXT_TOO_LARGE"
        assert len(it.models.requests) == 1  # there was nothing to leave out
        assert text(await it.chat("hello")) == "ok"


async def test_a_message_that_cannot_fit_is_refused_before_anything_is_recorded() -> None:
    async with stage(script, agent=SMALL) as it:
        with pytest.raises(DomainError) as refused:
            await it.start("z" * 4000)
        assert refused.value.code == "CONTEXT_TOO_LARGE"
        assert it.store.tables.messages == {}


def purse_of(monthly: int) -> Callable[[Stage], Purse]:
    def purse(it: Stage) -> Purse:
        return Purse(it.store.allowances, PriceBook.shipped(), it.now, monthly)

    return purse


async def counter(it: Stage) -> tuple[int, int]:
    month = it.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return await it.store.costs.counter(f"user/tokens-per-month/{KEY.uid}", month)


async def test_a_summary_beside_the_turns_counts_against_the_allowance() -> None:
    async with stage(script, agent=SMALL, thresholds=Thresholds(soft=0.5, hard=1.0), purse=purse_of(10_000)) as it:
        await until_summarised(it, await talk(it, 4))
        asked = [line for line in it.models.requests if line.messages[0].content.startswith("You keep the minutes")]
        while (found := await counter(it))[1]:
            await trio.lowlevel.checkpoint()
        assert found == (11 * len(asked), 0)


async def test_a_summary_that_the_allowance_does_not_suffice_for_is_left_to_a_turn() -> None:
    marks = Thresholds(soft=0.5, hard=0.9)
    async with stage(script, agent=SMALL, thresholds=marks, purse=purse_of(100)) as it:
        session_id = await talk(it, 9)
        assert (await until_summarised(it, session_id)).session.summary == "Mira likes tea."
        events = [e.type for e in await it.store.sessions.events(session_id, 0, 1000)]
        facts = [o.item for o in it.store.tables.outbox.values() if o.item.topic == "agent.compacted"]
        assert len(facts) == events.count("compacted") > 0, "each was made within a turn"
        assert await counter(it) == (0, 0)


async def test_a_summary_for_which_the_database_is_away_is_left_to_later_and_the_session_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0

    async def away(*given: object, **named: object) -> None:
        nonlocal asked
        asked += 1
        raise StoreUnavailable

    marks = Thresholds(soft=0.5, hard=1.0)
    async with stage(script, agent=SMALL, thresholds=marks, purse=purse_of(10_000)) as it:
        monkeypatch.setattr(it.store.allowances, "reserve", away)
        session_id = await talk(it, 4)
        while not asked:
            await trio.lowlevel.checkpoint()
        await talk(it, 1)
        node = it.system.node(session_address(session_id))
        assert node is not None
        assert node.restarts == 0
        monkeypatch.undo()
        await talk(it, 1)
        await until_summarised(it, session_id)
