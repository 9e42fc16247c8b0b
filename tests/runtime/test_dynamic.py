"""Rules 1, 3, 9, 10 and 18: children on demand, one activation per address, quarantine, passivation."""

from __future__ import annotations

import contextlib
from typing import ClassVar

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.kernel import Add, Counter, Crash, Doze, Get, No, Note, Quit, counter
from understudy.runtime import (
    KILL,
    Actor,
    ActorCrashed,
    ActorSystem,
    BadSpec,
    ChildSpec,
    Down,
    DynamicSpec,
    EventLog,
    Exit,
    NotRunning,
    Quarantined,
    Restart,
    StaleIncarnation,
    TooManyChildren,
    receive,
)
from understudy.runtime.testing import wait_exit


async def test_however_many_callers_race_there_is_one_activation(system: ActorSystem) -> None:
    diary: list[str] = []
    await system.spawn(DynamicSpec("accounts", "account", lambda key: ChildSpec(key, Counter, args=(diary, 1.0))))
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(system.ensure, "account/ada")
            nursery.start_soon(system.ask, "account/ada", Add(1))
    assert diary == ["+account/ada"]
    assert await system.ask("account/ada", Get()) == 50


async def test_nothing_can_be_activated_where_no_kind_matches(system: ActorSystem) -> None:
    with pytest.raises(NotRunning):
        await system.ensure("nobody/home")
    with pytest.raises(NotRunning):
        await system.ask("nobody", Get())


async def test_a_refusal_in_started_answers_whoever_wanted_the_actor_and_costs_no_budget(system: ActorSystem) -> None:
    class Picky(Counter):
        async def started(self) -> None:
            raise No("no such session")

    await system.spawn(DynamicSpec("d", "picky", lambda key: ChildSpec(key, Picky), quarantine=60, max_restarts=0))
    for _ in range(5):
        with pytest.raises(No):
            await system.ensure("picky/1")
        with pytest.raises(No):
            await system.ask("picky/1", Get())
    assert system.addresses("picky") == []


async def test_a_crashing_start_is_told_and_not_repeated(system: ActorSystem) -> None:
    starts: list[int] = []

    class Broken(Counter):
        async def started(self) -> None:
            starts.append(1)
            raise OSError("no disk")

    await system.spawn(DynamicSpec("d", "broken", lambda key: ChildSpec(key, Broken)))
    with pytest.raises(ActorCrashed) as caught:
        await system.ask("broken/1", Get())
    assert isinstance(caught.value.__cause__, OSError)
    assert len(starts) == 1
    assert system.whereis("broken/1") is None


async def test_there_are_never_more_than_max_children(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", counter, max_children=2))
    await system.ensure("k/1")
    await system.ensure("k/2")
    with pytest.raises(TooManyChildren):
        await system.ask("k/3", Get())
    await system.ensure("k/1")


async def test_a_kind_has_one_supervisor(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", counter))
    with pytest.raises(BadSpec):
        await system.spawn(DynamicSpec("e", "k", counter))


async def test_a_child_that_exceeds_its_budget_is_quarantined_and_nothing_else_notices(system: ActorSystem) -> None:
    spec = DynamicSpec("d", "k", lambda key: counter(key, poison_after=99), quarantine=30, max_restarts=2, window=60)
    await system.spawn(spec)
    await system.ask("k/good", Add(1))
    for _ in range(3):
        with pytest.raises(ActorCrashed):
            await system.ask("k/bad", Crash())
    with pytest.raises(Quarantined) as caught:
        await system.ask("k/bad", Get())
    assert 29 < caught.value.retry_after <= 30
    with pytest.raises(Quarantined):
        await system.ensure("k/bad")
    node = system.node("d")
    assert node is not None
    assert list(node.quarantined) == ["k/bad"]
    assert await system.ask("k/good", Get()) == 1
    await trio.sleep(61)
    assert await system.ask("k/bad", Get()) == 0


async def test_mail_waiting_for_a_child_that_is_quarantined_is_answered_at_once(system: ActorSystem) -> None:
    spec = DynamicSpec("d", "k", counter, quarantine=30, max_restarts=0)
    await system.spawn(spec)
    ref = await system.ensure("k/bad")
    ref.tell(Crash())
    with pytest.raises(Quarantined):
        await ref.ask(Get())


async def test_an_operator_may_lift_a_quarantine(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", counter, quarantine=3000, max_restarts=0))
    with contextlib.suppress(ActorCrashed):
        await system.ask("k/bad", Crash())
    with pytest.raises(Quarantined):
        await system.ensure("k/bad")
    await system.restart("k/bad")
    assert await system.ask("k/bad", Get()) == 0


async def test_without_quarantine_the_budget_is_the_supervisors_and_permanent_children_outlive_it(
    system: ActorSystem,
) -> None:
    await system.spawn(DynamicSpec("d", "k", lambda key: counter(key, poison_after=99), max_restarts=1))
    await system.ensure("k/other")
    for _ in range(2):
        with pytest.raises(ActorCrashed):
            await system.ask("k/bad", Crash())
    assert await system.ask("k/bad", Get()) == 0
    node = system.node("d")
    assert node is not None
    assert node.restarts == 1
    assert system.whereis("k/other") is not None


async def test_a_permanent_dynamic_child_comes_back_at_its_address_with_its_mail(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", counter))
    ref = await system.ensure("k/1")
    ref.tell(Crash())
    ref.tell(Note(1))
    ref.tell(Note(2))
    assert await ref.ask(Get()) == 2


async def test_a_temporary_child_that_ended_is_made_anew_by_the_next_message(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", lambda key: counter(key, restart=Restart.TEMPORARY)))
    await system.ask("k/1", Add(5))
    with pytest.raises(ActorCrashed):
        await system.ask("k/1", Crash())
    assert await system.ask("k/1", Get()) == 0


async def test_an_ask_waits_for_a_dynamic_supervisor_that_is_between_restarts(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", lambda key: ChildSpec(key, Counter, args=(None, 0.0, 2.0))))
    await system.ensure("k/slow")
    answers: list[int] = []

    async def asker() -> None:
        answers.append(await system.ask("k/new", Add(1)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.restart, "d")
        await wait_all_tasks_blocked()
        assert system.node("d").state == "stopping"  # type: ignore[union-attr]
        nursery.start_soon(asker)
    assert answers == [1]


async def test_children_stop_concurrently(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", lambda key: ChildSpec(key, Counter, args=(None, 0.0, 3.0))))
    for number in range(20):
        await system.ensure(f"k/{number}")
    began = trio.current_time()
    await system.stop()
    assert trio.current_time() - began == pytest.approx(3)


# -- rule 9: names


async def test_a_name_is_forgotten_before_anybody_hears_of_the_exit(system: ActorSystem) -> None:
    seen: list[bool] = []

    class Heir(Actor):
        async def started(self) -> None:
            self.monitor("k/1")

        @receive
        def down(self, message: Down) -> None:
            seen.append(self.system.whereis("k/1") is None)

    await system.spawn(DynamicSpec("d", "k", lambda key: counter(key, restart=Restart.TEMPORARY)))
    await system.ensure("k/1")
    await system.spawn(ChildSpec("heir", Heir))
    await system.ask("k/1", Quit())
    await wait_all_tasks_blocked()
    assert seen == [True]


# -- rule 10: old incarnations


async def test_an_old_incarnation_is_fenced_off(system: ActorSystem) -> None:
    old: list[Actor] = []

    class Ghost(Counter):
        async def started(self) -> None:
            self.events = EventLog()
            old.append(self)
            self.every(1, Note())

    ref = await system.spawn(ChildSpec("a", Ghost))
    await trio.sleep(2.5)
    ref.tell(Crash())
    await system.ask("a", Get())
    ghost = old[0]
    with pytest.raises(StaleIncarnation):
        ghost.after(1, Note())
    with pytest.raises(StaleIncarnation):
        ghost.work(trio.sleep, 1)
    with pytest.raises(StaleIncarnation):
        ghost.events.append("late")  # type: ignore[union-attr]
    await trio.sleep(3.5)
    assert await system.ask("a", Get()) == 3  # the new incarnation's own beats only
    assert system.whereis("a").epoch > ref.epoch  # type: ignore[union-attr]


# -- rule 18: passivation


@attrs.frozen
class Keep:
    seconds: float


class Sleepy(Counter):
    idle_after: ClassVar[float | None] = 10.0
    saved: ClassVar[dict[str, int]] = {}

    async def started(self) -> None:
        await super().started()
        self.total = self.saved.get(self.address, 0)
        self.events = EventLog()

    async def stopping(self, reason: Exit) -> None:
        await super().stopping(reason)
        self.saved[self.address] = self.total

    @receive
    def keep(self, message: Keep) -> None:
        self.work(trio.sleep, message.seconds)


@pytest.fixture
def diary() -> list[str]:
    Sleepy.saved.clear()
    return []


async def sleepers(system: ActorSystem, diary: list[str], goodbye: float = 0.0) -> None:
    await system.spawn(DynamicSpec("d", "s", lambda key: ChildSpec(key, Sleepy, args=(diary, 0.0, goodbye))))


async def test_an_idle_actor_saves_and_leaves_and_comes_back_with_the_next_message(
    system: ActorSystem, diary: list[str]
) -> None:
    await sleepers(system, diary)
    ref = await system.ensure("s/1")
    await ref.ask(Add(4))
    await trio.sleep(9)
    assert system.whereis("s/1") is not None
    await trio.sleep(2)
    assert system.whereis("s/1") is None
    assert diary == ["+s/1", "~s/1", "-s/1"]
    ref.tell(Add(1))  # a ref outlives passivation
    assert await ref.ask(Get()) == 5


async def test_a_message_that_races_with_passivation_goes_to_the_new_incarnation(
    system: ActorSystem, diary: list[str]
) -> None:
    await sleepers(system, diary, goodbye=2.0)
    ref = await system.ensure("s/1")
    await ref.ask(Add(4))
    await trio.sleep(11)
    assert system.node("s/1").state == "stopping"  # type: ignore[union-attr]
    ref.tell(Add(1))
    system.tell("s/1", Add(1))
    assert await system.ask("s/1", Get()) == 6
    assert diary == ["+s/1", "~s/1", "-s/1", "+s/1"]
    assert system.dead_letters.total == 0


async def test_work_timers_promises_and_subscribers_keep_an_actor_from_leaving(
    system: ActorSystem, diary: list[str]
) -> None:
    await sleepers(system, diary)
    ref = await system.ensure("s/1")
    ref.tell(Keep(30))
    await trio.sleep(25)
    assert system.whereis("s/1") is not None
    await trio.sleep(30)
    assert system.whereis("s/1") is None
    async with system.subscribe("s/1"):
        await trio.sleep(100)
        assert system.whereis("s/1") is not None
    await trio.sleep(25)
    assert system.whereis("s/1") is None


async def test_a_busy_actor_does_not_leave(system: ActorSystem, diary: list[str]) -> None:
    await sleepers(system, diary)
    assert await system.ask("s/1", Doze(60), timeout=100) == "rested"
    assert diary == ["+s/1"]


async def test_an_actor_that_is_told_to_stop_while_leaving_does_stop(system: ActorSystem, diary: list[str]) -> None:
    await sleepers(system, diary, goodbye=2.0)
    ref = await system.ensure("s/1")
    await trio.sleep(11)
    ref.tell(Add(1))
    await system.stop()
    assert diary == ["+s/1", "~s/1", "-s/1"]
    assert await wait_exit(system, "s/1") is None


# -- children made by hand, and the operator's hand on a dynamic supervisor


async def test_a_child_made_by_hand_gets_the_kinds_address(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", counter))
    ref = await system.spawn(counter("mine"), under="d")
    assert ref.address == "k/mine"
    with pytest.raises(BadSpec):
        await system.spawn(counter("mine"), under="d")
    with pytest.raises(BadSpec):
        await system.spawn(DynamicSpec("e", "other", counter), under="d")
    with pytest.raises(NotRunning):
        await system.spawn(counter("x"), under="k/mine")


async def test_a_suspended_dynamic_supervisor_decides_later(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", counter))
    await system.ensure("k/1")
    await system.suspend("d")
    with pytest.raises(ActorCrashed):
        await system.ask("k/1", Crash())
    await trio.sleep(5)
    assert system.node("k/1").state == "backing off"  # type: ignore[union-attr]
    await system.resume("d")
    assert await system.ask("k/1", Get()) == 0


async def test_children_of_a_killed_dynamic_supervisor_come_back_unless_temporary(system: ActorSystem) -> None:
    def child(key: str) -> ChildSpec:
        return counter(key, restart=Restart.TEMPORARY if key.startswith("t") else Restart.PERMANENT)

    await system.spawn(DynamicSpec("d", "k", child))
    for key in ("t1", "p1", "p2"):
        await system.ensure(f"k/{key}")
    await system.kill("d")
    assert await system.ask("k/p1", Get()) == 0
    assert set(system.addresses("k")) == {"k/p1", "k/p2"}


async def test_a_dynamic_child_with_shutdown_kill_is_not_asked(system: ActorSystem) -> None:
    diary: list[str] = []
    await system.spawn(DynamicSpec("d", "k", lambda key: counter(key, diary, shutdown=KILL)))
    await system.ensure("k/1")
    await system.stop()
    assert diary == ["+k/1"]


async def test_the_end_of_a_significant_dynamic_child_ends_its_supervisor(system: ActorSystem) -> None:
    spec = DynamicSpec(
        "d", "k", lambda key: counter(key, restart=Restart.TEMPORARY, significant=True), restart=Restart.TRANSIENT
    )
    await system.spawn(spec)
    await system.ask("k/1", Quit())
    await wait_all_tasks_blocked()
    assert system.whereis("d") is None
    with pytest.raises(NotRunning):
        await system.ensure("k/2")


async def test_inspecting_a_dynamic_supervisor_shows_its_limits(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", counter, max_children=5, quarantine=9, max_restarts=0))
    with pytest.raises(ActorCrashed):
        await system.ask("k/1", Crash())
    shown = await system.inspect("d")
    assert shown["max_children"] == 5
    assert list(shown["quarantined"]) == ["k/1"]  # type: ignore[call-overload]


async def test_a_child_function_that_returns_nonsense_is_named(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", lambda key: key))  # type: ignore[arg-type,return-value]
    with pytest.raises(BadSpec, match="ChildSpec"):
        await system.ensure("k/1")
