"""Two nodes on one database: each turn is one node's, and whoever is asked tells the truth."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.actors.session.stage import CHAD, KEY, Script, Stage, say, stage, text, types
from understudy.actors.errors import Conflict
from understudy.actors.inference.messages import Finished, ModelEvent, TextDelta
from understudy.actors.nodes.messages import NODE
from understudy.actors.session.messages import (
    DIRECTORY,
    AuthorizeSession,
    CancelTurn,
    HandOff,
    OnBusy,
    Reset,
    ResumeStream,
    TurnStarted,
    session_address,
)
from understudy.actors.session.shared import SEIZE_BOUND
from understudy.runtime import Numbered
from understudy.storage.records import IdempotencyKey, Role, Session, TurnStatus, Usage


@attrs.define
class Cue:
    """A model that says one word, and the rest when it is told to."""

    go: trio.Event = attrs.field(factory=trio.Event)

    async def say(self) -> AsyncIterator[ModelEvent]:
        yield TextDelta("slowly ")
        await self.go.wait()
        yield TextDelta("said")
        yield Finished("stop", Usage(10, 2), "script-1")


@asynccontextmanager
async def two(a: Script | None = None, b: Script | None = None) -> AsyncGenerator[tuple[Stage, Stage], None]:
    """Two nodes, the second started after the first."""
    async with stage(a, node="nod_a") as first, stage(b, node="nod_b", beside=first) as second:
        yield first, second


async def spoken(it: Stage, turn: TurnStarted) -> None:
    """Wait until the turn has said its first word."""
    async with it.system.subscribe(session_address(turn.session_id), after=turn.after) as events:
        async for item in events:
            if isinstance(item, Numbered) and item.event.type == "content":
                return


async def status_of(it: Stage, turn: TurnStarted) -> TurnStatus:
    found = await it.store.sessions.turn(turn.turn_id)
    assert found is not None
    return found.status


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await trio.lowlevel.checkpoint()


async def test_a_node_that_starts_leaves_the_turns_of_living_nodes_alone(autojump_clock: MockClock) -> None:
    cue = Cue()
    async with stage(lambda line: cue.say(), node="nod_a") as a:
        turn = await a.start("hi")
        await spoken(a, turn)
        async with stage(node="nod_b", beside=a) as b:
            await trio.sleep(12)  # its sweeps, too, leave it alone
            cue.go.set()
            events = await a.read(turn)
            assert (types(events)[-1], text(events)) == ("done", "slowly said")
            assert await status_of(b, turn) is TurnStatus.COMPLETED


async def test_a_turn_is_ended_as_interrupted_when_the_lease_of_its_node_is_over_and_its_late_words_change_nothing(
    autojump_clock: MockClock,
) -> None:
    cue = Cue()
    async with two(lambda line: cue.say()) as (a, b):
        turn = await a.start("hi")
        await spoken(a, turn)
        await a.system.suspend(NODE)
        await b.store.nodes.leave("nod_a")  # it was not heard of for longer than its lease
        with trio.fail_after(15):
            while await status_of(b, turn) is TurnStatus.RUNNING:
                await trio.sleep(0.1)
        before = await b.store.sessions.messages(turn.session_id)
        cue.go.set()
        events = await a.read(turn)
        assert (types(events)[-1], events[-1].data["code"]) == ("error", "INTERRUPTED")
        assert text(events) == "slowly "
        await until(lambda: a.models.open == 0)
        assert await b.store.sessions.messages(turn.session_id) == before
        assert [(m.role, m.content, m.status) for m in before] == [
            (Role.USER, "hi", "complete"),
            (Role.ASSISTANT, "slowly ", "interrupted"),
        ]
        assert types(await b.chat("and now?"))[-1] == "done"
        assert types(await a.chat("and here?"))[-1] == "done"


async def test_a_turn_whose_session_was_lost_stops_at_once_though_its_model_is_silent(
    autojump_clock: MockClock,
) -> None:
    cue = Cue()
    async with two(lambda line: cue.say()) as (a, b):
        turn = await a.start("hi")
        await spoken(a, turn)
        await b.store.sessions.claim(turn.session_id, "nod_c")
        claimed = await b.store.sessions.load(turn.session_id)
        assert claimed is not None
        assert claimed.node == "nod_a", "a living node's turn cannot be taken away"
        b.store.tables.nodes.pop("nod_a")
        claimed = await b.store.sessions.claim(turn.session_id, "nod_c")
        assert claimed is not None
        assert claimed.node == "nod_c"
        b.store.tables.call(f'{{"lost":"{turn.session_id}","node":"nod_a","epoch":{claimed.epoch}}}')
        await until(lambda: a.models.open == 0)


@pytest.mark.parametrize("hearing", [True, False])
async def test_one_conversation_through_two_nodes_in_turn_goes_on_where_it_was(
    autojump_clock: MockClock, hearing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two() as (a, b):
        if not hearing:  # what one calls is lost: the other learns it when its write is refused
            monkeypatch.setattr(a.store.tables, "call", lambda said: None)
        seen: list[int] = []
        for number in range(4):
            for it in (a, b):
                events = await it.chat(f"{number} at {it is a}")
                assert types(events)[-1] == "done"
                seen += [event.seq for event in events]
                said = [m.content for m in it.models.requests[-1].messages[1:] if m.role is Role.USER]
                assert len(said) == 2 * number + (1 if it is a else 2)
        assert seen == list(range(1, len(seen) + 1))


async def test_a_message_waits_for_the_turn_that_another_node_runs(autojump_clock: MockClock) -> None:
    cue = Cue()
    async with two(lambda line: cue.say()) as (a, b):
        first = await a.start("one")
        await spoken(a, first)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.chat, "two")
            await trio.sleep(2)
            assert not b.models.requests
            cue.go.set()
        assert [m.content for m in b.models.requests[0].messages[1:]] == ["one", "slowly said", "two"]


async def test_reject_refuses_while_another_node_runs_a_turn(autojump_clock: MockClock) -> None:
    cue = Cue()
    async with two(lambda line: cue.say()) as (a, b):
        turn = await a.start("one")
        await spoken(a, turn)
        with pytest.raises(Conflict):
            await b.start("two", on_busy=OnBusy.REJECT)
        cue.go.set()
        assert types(await a.read(turn))[-1] == "done"


@pytest.mark.parametrize("way", [OnBusy.INTERRUPT, OnBusy.ROLLBACK])
async def test_interrupt_and_rollback_stop_the_turn_that_another_node_runs(
    autojump_clock: MockClock, way: OnBusy
) -> None:
    cue = Cue()
    async with two(lambda line: cue.say()) as (a, b):
        turn = await a.start("one")
        await spoken(a, turn)
        assert types(await b.chat("two", on_busy=way))[-1] == "done"
        assert await status_of(b, turn) is TurnStatus.CANCELLED
        assert a.models.open == 0
        told = [m.content for m in b.models.requests[0].messages[1:]]
        assert told == (["two"] if way is OnBusy.ROLLBACK else ["one", "slowly ", "two"])


async def test_a_turn_is_cancelled_at_whichever_node_that_is_asked(autojump_clock: MockClock) -> None:
    cue = Cue()
    async with two(lambda line: cue.say()) as (a, b):
        turn = await a.start("one")
        await spoken(a, turn)
        cancelled = await b.system.ask(DIRECTORY, CancelTurn(KEY.uid, turn.session_id, "trn_other"), timeout=10)
        assert cancelled.turn_id is None
        cancelled = await b.system.ask(DIRECTORY, CancelTurn(KEY.uid, turn.session_id), timeout=10)
        assert (cancelled.turn_id, cancelled.status) == (turn.turn_id, TurnStatus.CANCELLED)
        assert a.models.open == 0
        events = await a.read(turn)
        assert (types(events)[-1], events[-1].seq) == ("error", cancelled.last_seq)
        assert types(await b.chat("two"))[-1] == "done"


async def test_a_stream_can_be_read_on_at_a_node_that_does_not_run_the_turn(autojump_clock: MockClock) -> None:
    cue = Cue()
    async with two(lambda line: cue.say()) as (a, b):
        await b.chat("earlier, here")  # b knows the session, and believes it to be its own
        turn = await a.start("hi")
        await spoken(a, turn)
        found = await b.system.ask(DIRECTORY, ResumeStream(KEY.uid, KEY.workspace_id, turn.session_id, turn.after + 1))
        assert found.turn_id == turn.turn_id
        async with trio.open_nursery() as nursery:
            nursery.start_soon(release, cue)
            events = await b.read(attrs.evolve(found, after=turn.after))
        assert events == await a.read(turn)
        assert text(events) == "slowly said"


async def test_a_turn_that_is_read_at_another_node_is_not_cancelled_as_unread(autojump_clock: MockClock) -> None:
    cue = Cue()
    async with two(lambda line: cue.say()) as (a, b):
        turn = await a.start("hi", grace=2.0)
        await spoken(a, turn)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spoken, b, turn)
            nursery.start_soon(b.read, turn)
            await trio.sleep(8)
            assert await status_of(b, turn) is TurnStatus.RUNNING
            cue.go.set()
        cue.go = trio.Event()
        unread = await a.start("and now nobody reads", grace=2.0)
        await trio.sleep(8)
        assert await status_of(b, unread) is TurnStatus.CANCELLED


async def release(cue: Cue) -> None:
    await trio.sleep(2)
    cue.go.set()


async def test_events_that_another_node_wrote_can_be_read_as_soon_as_they_are_known_of(
    autojump_clock: MockClock,
) -> None:
    async with two() as (a, b):
        first = await a.start("one")
        await a.read(first)
        await b.chat("two")
        session = await a.system.ask(DIRECTORY, AuthorizeSession(KEY.uid, first.session_id))
        async with a.system.subscribe(session_address(session.id), after=session.last_seq - 1) as events:
            last = await anext(aiter(events))
            assert isinstance(last, Numbered)
            assert last.event.type == "done"


async def test_a_repeated_request_finds_the_turn_that_another_node_runs(autojump_clock: MockClock) -> None:
    cue = Cue()
    key = IdempotencyKey("usr_1:POST /agent/chat", "k", b"0" * 32)
    async with two(lambda line: cue.say()) as (a, b):
        await b.chat("earlier, here")
        turn = await a.start("one", idempotency=key)
        await spoken(a, turn)
        again = await b.start("one", idempotency=key)
        assert (again.turn_id, again.replayed) == (turn.turn_id, True)
        cue.go.set()
        assert text(await b.read(again)) == "slowly said"
        assert len(b.models.requests) == 1


async def test_reset_at_one_node_stops_the_turn_at_the_other_and_both_go_on_in_the_new_conversation(
    autojump_clock: MockClock,
) -> None:
    cue = Cue()
    async with two(lambda line: cue.say() if line.number == 0 else say("again")) as (a, b):
        turn = await a.start("one")
        await spoken(a, turn)
        done = await b.system.ask(DIRECTORY, Reset(KEY), timeout=10)
        assert done.archived_session_id == turn.session_id
        assert await status_of(b, turn) is TurnStatus.CANCELLED
        for it in (a, b):
            started = await it.start("two")
            assert started.session_id == done.session_id
            await it.read(started)
        assert len(b.models.requests[0].messages) == 4


async def test_a_conversation_that_has_begun_elsewhere_is_not_taken_for_a_fresh_one(autojump_clock: MockClock) -> None:
    async with two() as (a, b):
        fresh = await b.system.ask(DIRECTORY, Reset(KEY))
        assert (await b.system.ask(DIRECTORY, Reset(KEY))).session_id == fresh.session_id
        await a.chat("one")
        assert (await b.system.ask(DIRECTORY, Reset(KEY))).archived_session_id == fresh.session_id


async def test_a_conversation_in_use_at_one_node_is_not_replaced_as_idle_by_the_other(
    autojump_clock: MockClock,
) -> None:
    agent = attrs.evolve(CHAD, idle_timeout=60.0)
    async with stage(node="nod_a", agent=agent) as a, stage(node="nod_b", beside=a, agent=agent) as b:
        first = await b.start("one")
        await b.read(first)
        for it in (a, b):
            it.pass_time(seconds=50)
        second = await a.start("two")
        await a.read(second)
        for it in (a, b):
            it.pass_time(seconds=50)
        third = await b.start("three")
        assert {first.session_id, second.session_id, third.session_id} == {first.session_id}
        await b.read(third)


async def test_a_hand_off_is_refused_while_another_node_runs_a_turn_and_known_there_afterwards(
    autojump_clock: MockClock,
) -> None:
    cue = Cue()
    async with two(lambda line: cue.say() if line.number == 0 else say("again")) as (a, b):
        for it in (a, b):
            it.others["ada"] = attrs.evolve(it.agent, id="ada")
        turn = await a.start("one")
        await spoken(a, turn)
        with pytest.raises(Conflict):
            await b.system.ask(DIRECTORY, HandOff(KEY.uid, turn.session_id, "ada"))
        cue.go.set()
        await a.read(turn)
        moved = await b.system.ask(DIRECTORY, HandOff(KEY.uid, turn.session_id, "ada"))
        assert moved.key.agent_id == "ada"
        elsewhere = await a.start("two")
        assert elsewhere.session_id != turn.session_id
        here = await a.start("two", key=moved.key)
        assert here.session_id == turn.session_id
        for each in (elsewhere, here):
            await a.read(each)


async def test_a_node_that_stops_leaves_nothing_to_wait_for(autojump_clock: MockClock) -> None:
    cue = Cue()
    async with stage(node="nod_b") as b:
        async with stage(lambda line: cue.say(), node="nod_a", beside=b) as a:
            turn = await a.start("one")
            await spoken(a, turn)
        assert set(b.store.tables.nodes) == {"nod_b"}
        with trio.fail_after(6):
            assert types(await b.chat("two"))[-1] == "done"
        assert await status_of(b, turn) is TurnStatus.INTERRUPTED


async def test_a_reset_that_has_begun_is_not_broken_off_when_the_time_to_wait_for_another_node_is_over(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(patience=120) as it:
        first = await it.start("one")
        await it.read(first)
        real = it.store.sessions.reset

        async def slow(session_id: str, now: datetime, *, epoch: int) -> tuple[Session, Session]:
            done = await real(session_id, now, epoch=epoch)
            await trio.sleep(2 * SEIZE_BOUND)
            return done

        monkeypatch.setattr(it.store.sessions, "reset", slow)
        done = await it.system.ask(DIRECTORY, Reset(KEY), timeout=60)
        assert done.archived_session_id == first.session_id
        assert (await it.start("two")).session_id == done.session_id


async def test_what_another_node_writes_is_not_looked_at_while_nobody_reads_it_here(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cue = Cue()
    async with two(lambda line: cue.say()) as (a, b):
        turn = await a.start("hi")
        await spoken(b, turn)
        await trio.sleep(1)
        looks = 0
        real = b.store.sessions.load

        async def load(session_id: str) -> Session | None:
            nonlocal looks
            looks += 1
            return await real(session_id)

        monkeypatch.setattr(b.store.sessions, "load", load)
        await trio.sleep(2)
        assert looks == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(release, cue)
            assert text(await b.read(attrs.evolve(turn, after=0))) == "slowly said"
        assert looks
