"""Linked work, timers, and rule 19's watch over progress."""

from __future__ import annotations

from typing import ClassVar

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.kernel import Add, Counter, Crash, Doze, Get, counter
from understudy.runtime import (
    Actor,
    ActorCrashed,
    ActorSystem,
    Ask,
    ChildSpec,
    Context,
    Exit,
    NoProgress,
    Raised,
    Restart,
    Returned,
    Stopped,
    Timer,
    Work,
    WorkDone,
    current_context,
    receive,
)
from understudy.runtime.testing import wait_exit


@attrs.frozen
class Start:
    seconds: float = 1.0
    fail: bool = False
    cleanup: float = 0.0


@attrs.frozen
class CancelIt:
    pass


@attrs.frozen
class StartAsked(Ask[None]):
    pass


class Employer(Counter):
    def __init__(self, handles: bool = True) -> None:
        super().__init__()
        self.works: list[Work] = []
        self.done: list[WorkDone] = []
        self.contexts: list[Context] = []
        self.cleaned: list[float] = []
        self.goodbyes: list[object] = []

    async def toil(self, message: Start) -> str:
        self.contexts.append(current_context())
        try:
            await trio.sleep(message.seconds)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(message.cleanup)
            self.cleaned.append(trio.current_time())
        if message.fail:
            raise OSError("no luck")
        return "done"

    @receive
    def begin(self, message: Start) -> None:
        self.works.append(self.work(self.toil, message, name="toil", tag=len(self.works)))

    @receive
    def begin_asked(self, message: StartAsked) -> None:
        self.begin(Start(1))

    @receive
    def cancel_it(self, message: CancelIt) -> None:
        self.works[-1].cancel()


class Caring(Employer):
    @receive
    def work_done(self, message: WorkDone) -> None:
        self.done.append(message)

    async def stopping(self, reason: Exit) -> None:
        self.goodbyes = [done.outcome for done in await self.cancel_work()]


def actor_at(system: ActorSystem, address: str) -> Caring:
    actor = system.find(address).actor  # type: ignore[union-attr]
    assert isinstance(actor, Employer)
    return actor  # type: ignore[return-value]


async def test_work_runs_while_the_mailbox_is_served_and_its_end_is_a_message(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Caring))
    ref.tell(Start(10))
    ref.tell(Start(10, fail=True))
    assert await ref.ask(Add(1)) == 1
    node = system.node("a")
    assert node is not None
    assert [info.name for info in node.work] == ["toil", "toil"]
    await trio.sleep(11)
    done = sorted(actor_at(system, "a").done, key=lambda message: str(message.work.tag))
    assert done[0].outcome == Returned("done")
    assert isinstance(done[1].outcome, Raised)
    assert [message.work.tag for message in done] == [0, 1]


async def test_work_can_be_cancelled_alone(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Caring))
    ref.tell(Start(1000))
    ref.tell(CancelIt())
    await trio.sleep(1)
    assert [message.outcome for message in actor_at(system, "a").done] == [Stopped()]


async def test_work_that_fails_crashes_an_actor_that_does_not_listen(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Employer))
    ref.tell(Start(1, fail=True))
    await trio.sleep(2)
    node = system.node("a")
    assert node is not None
    assert node.restarts == 1
    assert node.crash is not None
    assert "no luck" in node.crash.error


@pytest.mark.parametrize("how", ["crash", "kill", "stop"])
async def test_the_end_of_an_actor_is_not_announced_before_its_work_has_ended(system: ActorSystem, how: str) -> None:
    ref = await system.spawn(ChildSpec("a", Employer, restart=Restart.TEMPORARY))
    ref.tell(Start(1000, cleanup=3))
    await wait_all_tasks_blocked()
    actor = actor_at(system, "a")
    if how == "crash":
        with pytest.raises(ActorCrashed):
            await ref.ask(Crash())  # the asker learns of it at once
        assert trio.current_time() == 0
    elif how == "kill":
        await system.kill("a")
    else:
        await system.stop()
    await wait_exit(system, "a")
    assert actor.cleaned == [3]
    assert trio.current_time() == pytest.approx(3)


async def test_stopping_may_end_the_work_first_and_keep_what_it_had(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Caring))
    ref.tell(Start(1000))
    await wait_all_tasks_blocked()
    actor = actor_at(system, "a")
    await system.stop()
    assert actor.goodbyes == [Stopped()]


async def test_work_keeps_the_request_but_not_the_deadline_or_chain_of_its_message(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Caring))
    with system.context(request_id="r", trace="t", tenant="w", deadline=2.0):
        await ref.ask(StartAsked(), timeout=1)
    await wait_all_tasks_blocked()
    context = actor_at(system, "a").contexts[0]
    assert (context.request_id, context.trace, context.tenant) == ("r", "t", "w")
    assert context.deadline == float("inf")
    assert context.chain == ()


# -- timers


@attrs.frozen
class Tick:
    n: int = 0


class Clock(Counter):
    def __init__(self) -> None:
        super().__init__()
        self.ticks: list[float] = []
        self.timer: Timer | None = None

    async def started(self) -> None:
        self.timer = self.every(2, Tick())

    @receive
    def tick(self, message: Tick) -> None:
        self.ticks.append(trio.current_time())


async def test_timers_are_messages_that_repeat_without_drift(system: ActorSystem) -> None:
    await system.spawn(ChildSpec("a", Clock))
    await trio.sleep(7)
    assert system.find("a").actor.ticks == pytest.approx([2, 4, 6])  # type: ignore[union-attr]


async def test_beats_do_not_pile_up_while_the_actor_is_busy(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Clock))
    await ref.ask(Doze(9), timeout=20)
    await trio.sleep(2)
    assert system.find("a").actor.ticks == pytest.approx([9, 10])  # type: ignore[union-attr]


async def test_a_cancelled_timer_sends_nothing_even_if_its_message_was_queued(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Clock))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.ask, Doze(3))
        await trio.sleep(2.5)
        clock = system.find("a").actor  # type: ignore[union-attr]
        clock.timer.cancel()
    await trio.sleep(10)
    assert clock.ticks == []
    assert system.dead_letters.total == 0


async def test_timers_die_with_their_incarnation(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Clock, restart=Restart.TEMPORARY))
    clock = system.find("a").actor  # type: ignore[union-attr]
    ref.tell(Crash())
    await trio.sleep(10)
    assert clock.ticks == []
    assert len(system.schedule) == 0


async def test_a_timer_that_makes_no_sense_is_refused(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    actor = system.find("a").actor  # type: ignore[union-attr]
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="timer"):
            actor.after(seconds, Tick())
    with pytest.raises(ValueError, match="timer"):
        actor.every(0, Tick())


# -- rule 19: progress


class Watched(Caring):
    progress_timeout: ClassVar[float | None] = 10.0


async def test_a_handler_without_progress_is_aborted_and_only_that_actor_restarts(system: ActorSystem) -> None:
    await system.spawn(ChildSpec("a", Watched))
    await system.spawn(counter("b"))
    with pytest.raises(ActorCrashed) as caught:
        await system.ask("a", Doze(1000), timeout=100)
    assert isinstance(caught.value.__cause__, NoProgress)
    assert 10 <= trio.current_time() <= 20
    assert await system.ask("a", Get()) == 0
    assert system.node("b").restarts == 0  # type: ignore[union-attr]


async def test_work_without_progress_is_aborted_although_the_mailbox_is_served(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Watched))
    ref.tell(Start(1000))
    for _ in range(30):
        await ref.ask(Get())
        await trio.sleep(1)
    node = system.node("a")
    assert node is not None
    assert node.restarts == 1
    assert "NoProgress" in node.crash.error  # type: ignore[union-attr]


async def test_work_that_reports_progress_is_left_alone(system: ActorSystem) -> None:
    class Steady(Watched):
        async def toil(self, message: Start) -> str:
            for _ in range(10):
                await trio.sleep(5)
                self.progress()
            return "done"

    ref = await system.spawn(ChildSpec("a", Steady))
    ref.tell(Start())
    await trio.sleep(60)
    assert actor_at(system, "a").done[0].outcome == Returned("done")


async def test_an_idle_actor_is_not_stuck(system: ActorSystem) -> None:
    await system.spawn(ChildSpec("a", Watched))
    await trio.sleep(1000)
    assert system.node("a").restarts == 0  # type: ignore[union-attr]


async def test_an_actor_cannot_be_used_before_it_has_its_place(system: ActorSystem) -> None:
    class Hasty(Actor):
        def __init__(self) -> None:
            self.every(1, Tick())

    with pytest.raises(ActorCrashed) as caught:
        await system.spawn(ChildSpec("a", Hasty))
    assert isinstance(caught.value.__cause__, AttributeError)


class Relay(Actor):
    """Whose work, cancelled, has other work begin."""

    @receive
    def start(self, message: Start) -> None:
        self.work(self._toil)

    async def _toil(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.work(trio.sleep_forever)


async def test_work_that_begins_while_the_actor_ends_does_not_keep_it(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Relay))
    ref.tell(Start(1))
    await trio.sleep(1)
    with trio.fail_after(60):
        await system.kill("a")
        await trio.sleep(1)
        await system.stop()
