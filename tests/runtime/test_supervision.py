"""Rules 1 to 7: who is restarted, in which order, how often, and what an end means."""

from __future__ import annotations

import contextlib
import itertools
import random

import pytest
import trio

from tests.support.kernel import Add, Counter, Crash, Doze, Get, Quit, counter
from understudy.runtime import (
    KILL,
    Actor,
    ActorCrashed,
    ActorSystem,
    Backoff,
    BadSpec,
    ChildSpec,
    Crashed,
    DynamicSpec,
    Killed,
    NotRunning,
    Restart,
    RestartsExceeded,
    StartTimeout,
    Strategy,
    SupervisorSpec,
    SystemDown,
    receive,
)
from understudy.runtime.testing import open_system, wait_exit

NO_WAIT = Backoff(base=0.0)


def trio_of(strategy: Strategy, diary: list[str], **options: object) -> SupervisorSpec:
    children = [counter(name, diary, poison_after=1000) for name in "abc"]
    return SupervisorSpec("s", strategy=strategy, children=children, backoff=NO_WAIT, **options)  # type: ignore[arg-type]


async def crash(system: ActorSystem, address: str) -> None:
    with pytest.raises(ActorCrashed):
        await system.ask(address, Crash())


async def settle(system: ActorSystem, *addresses: str) -> None:
    for address in addresses:
        await system.ask(address, Get())


# -- rule 1: strategies


async def test_one_for_one_restarts_only_the_one_that_crashed(system: ActorSystem) -> None:
    diary: list[str] = []
    await system.spawn(trio_of(Strategy.ONE_FOR_ONE, diary))
    diary.clear()
    await crash(system, "s/b")
    await settle(system, "s/a", "s/b", "s/c")
    assert diary == ["+s/b"]


async def test_one_for_all_stops_the_others_in_reverse_and_starts_all_in_order(system: ActorSystem) -> None:
    diary: list[str] = []
    await system.spawn(trio_of(Strategy.ONE_FOR_ALL, diary))
    diary.clear()
    await crash(system, "s/b")
    await settle(system, "s/a", "s/b", "s/c")
    assert diary == ["~s/c", "-s/c", "~s/a", "-s/a", "+s/a", "+s/b", "+s/c"]


async def test_rest_for_one_takes_along_only_those_started_later(system: ActorSystem) -> None:
    diary: list[str] = []
    await system.spawn(trio_of(Strategy.REST_FOR_ONE, diary))
    diary.clear()
    await crash(system, "s/b")
    await settle(system, "s/a", "s/b", "s/c")
    assert diary == ["~s/c", "-s/c", "+s/b", "+s/c"]


async def test_a_temporary_sibling_is_stopped_with_its_group_and_not_started_again(system: ActorSystem) -> None:
    diary: list[str] = []
    children = [counter("a", diary), counter("b", diary, restart=Restart.TEMPORARY)]
    await system.spawn(SupervisorSpec("s", strategy=Strategy.ONE_FOR_ALL, children=children))
    await crash(system, "s/a")
    await settle(system, "s/a")
    assert system.whereis("s/b") is None
    assert diary[-1] == "+s/a"


async def test_partitions_share_the_children_by_key_and_fail_alone(system: ActorSystem) -> None:
    spec = DynamicSpec("pool", "worker", lambda key: counter(key), partitions=4, max_restarts=1)
    await system.spawn(spec)
    for number in range(40):
        await system.ensure(f"worker/{number}")
    partitions = [system.node(f"pool/~{number}") for number in range(4)]
    counts = [node.child_count for node in partitions if node is not None]
    assert sum(counts) == 40
    assert all(counts)
    before = {address: system.whereis(address) for address in system.addresses("worker")}
    for _ in range(2):  # one more than the budget: its partition gives up and begins again, and only that
        await crash(system, "worker/1")
    await settle(system, *before)
    renewed = [address for address, ref in before.items() if system.whereis(address) != ref]
    assert "worker/1" in renewed
    assert len(renewed) in counts


# -- rule 2: specifications


@pytest.mark.parametrize(
    "spec",
    [
        ChildSpec("", Counter),
        ChildSpec("a/b", Counter),
        ChildSpec("a", Counter, significant=True),
        ChildSpec("a", Counter, shutdown=-1),
        ChildSpec("a", Counter, args=(1, 2, 3, 4, 5)),
        ChildSpec("a", int),  # type: ignore[arg-type]
        ChildSpec("a", Counter, start_timeout=0),
        ChildSpec("a", Counter, mailbox_limit=0),
        SupervisorSpec("s", children=[counter("a"), counter("a")]),
        SupervisorSpec("s", max_restarts=-1),
        SupervisorSpec("s", children=[SupervisorSpec("t", children=[ChildSpec("x/y", Counter)])]),
        DynamicSpec("d", "k/l", counter),
        DynamicSpec("d", "k", counter, partitions=0),
        SupervisorSpec("s", children=[DynamicSpec("d", "k", counter), DynamicSpec("e", "k", counter)]),
    ],
    ids=lambda spec: f"{type(spec).__name__}-{spec.id}",
)
async def test_a_contradictory_specification_starts_nothing(system: ActorSystem, spec: ChildSpec) -> None:
    diary: list[str] = []
    whole = SupervisorSpec("whole", children=[counter("first", diary), spec])
    with pytest.raises(BadSpec):
        await system.spawn(whole)
    assert diary == []
    assert system.addresses() == []


async def test_a_taken_name_is_refused(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    with pytest.raises(BadSpec):
        await system.spawn(counter("a"))


async def test_the_end_of_a_significant_child_ends_its_supervisor_in_good_order(system: ActorSystem) -> None:
    diary: list[str] = []
    children = [counter("a", diary), counter("b", diary, restart=Restart.TRANSIENT, significant=True)]
    await system.spawn(SupervisorSpec("s", children=children, restart=Restart.TRANSIENT))
    await system.ask("s/b", Quit())
    await wait_exit(system, "s")
    await trio.testing.wait_all_tasks_blocked()
    assert system.addresses() == []
    assert diary[-2:] == ["~s/a", "-s/a"]


@pytest.mark.parametrize(
    ("restart", "after_quit", "after_crash"),
    [(Restart.PERMANENT, True, True), (Restart.TRANSIENT, False, True), (Restart.TEMPORARY, False, False)],
)
async def test_the_restart_policy_decides_by_the_exit(
    system: ActorSystem, restart: Restart, after_quit: bool, after_crash: bool
) -> None:
    for name, message, expected in (("q", Quit(), after_quit), ("c", Crash(), after_crash)):
        await system.spawn(counter(name, restart=restart))
        with contextlib.suppress(ActorCrashed):
            await system.ask(name, message)
        await trio.testing.wait_all_tasks_blocked()
        assert (system.whereis(name) is not None) is expected


# -- rule 3: budget, escalation, backoff


async def test_a_spent_budget_ends_the_supervisor_and_counts_as_one_crash_above(system: ActorSystem) -> None:
    diary: list[str] = []
    await system.spawn(trio_of(Strategy.ONE_FOR_ONE, diary, max_restarts=2, window=5))
    for _ in range(2):
        await crash(system, "s/b")
        await settle(system, "s/b")
    diary.clear()
    await crash(system, "s/b")
    await settle(system, "s/a", "s/b", "s/c")
    assert diary == ["~s/c", "-s/c", "~s/a", "-s/a", "+s/a", "+s/b", "+s/c"]
    node = system.node("s")
    assert node is not None
    assert node.restarts == 1
    assert node.crash is not None
    assert "RestartsExceeded" in node.crash.error
    assert "ValueError: boom" in node.crash.traceback


async def test_the_budget_recovers_once_the_window_has_passed(system: ActorSystem) -> None:
    await system.spawn(trio_of(Strategy.ONE_FOR_ONE, [], max_restarts=1, window=5))
    for _ in range(5):
        await crash(system, "s/a")
        await settle(system, "s/a")
        await trio.sleep(6)
    node = system.node("s")
    assert node is not None
    assert node.restarts == 0


async def test_a_root_that_gives_up_ends_the_system_and_leaving_the_block_says_so() -> None:
    with trio.fail_after(1000), pytest.raises(SystemDown) as caught:  # noqa: PT012 - the block is what raises
        async with open_system(max_restarts=0) as system:
            await system.spawn(counter("a"))
            await crash(system, "a")
            assert isinstance(await system.wait_stopped(), Crashed)
            with pytest.raises(NotRunning):
                await system.ask("a", Get())
    assert isinstance(caught.value.__cause__, RestartsExceeded)


async def test_restarts_back_off_exponentially_with_jitter_and_reset_after_a_stable_time(system: ActorSystem) -> None:
    starts: list[float] = []

    class Stamp(Counter):
        async def started(self) -> None:
            starts.append(trio.current_time())

    backoff = Backoff(base=1.0, factor=2.0, limit=8.0, jitter=0.1, stable_after=100.0)
    child = ChildSpec("a", Stamp, poison_after=1000)
    await system.spawn(SupervisorSpec("s", children=[child], backoff=backoff, max_restarts=100))
    for _ in range(7):
        await crash(system, "s/a")
        await settle_within(system, "s/a", 20)
    waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert waits[0] == 0
    for wait, ideal in zip(waits[1:], [1, 2, 4, 8, 8, 8], strict=True):
        assert ideal * 0.9 <= wait <= ideal * 1.1
    assert len({wait / ideal for wait, ideal in zip(waits[1:], [1, 2, 4, 8, 8, 8], strict=True)}) > 1
    await trio.sleep(101)
    before = trio.current_time()
    await crash(system, "s/a")
    await settle_within(system, "s/a", 20)
    assert starts[-1] == before


async def settle_within(system: ActorSystem, address: str, seconds: float) -> None:
    await system.ask(address, Get(), timeout=seconds)


def test_the_same_dice_give_the_same_backoff() -> None:
    backoff = Backoff(base=1.0)
    once, again = random.Random(3), random.Random(3)
    assert [backoff.delay(n, once) for n in range(9)] == [backoff.delay(n, again) for n in range(9)]
    assert backoff.delay(10**9, once) <= backoff.limit * (1 + backoff.jitter)


async def test_a_stop_gets_in_between_two_attempts_to_restart(system: ActorSystem) -> None:
    attempts: list[float] = []

    class Hopeless(Actor):
        async def started(self) -> None:
            attempts.append(trio.current_time())
            if len(attempts) > 1:
                raise OSError("still broken")

        @receive
        def crash(self, message: Crash) -> None:
            raise ValueError

    backoff = Backoff(base=10, jitter=0)
    await system.spawn(
        SupervisorSpec("s", children=[ChildSpec("a", Hopeless)], backoff=backoff, max_restarts=1000, window=1)
    )
    await crash(system, "s/a")
    await trio.sleep(35)
    tried = len(attempts)
    assert tried > 2
    began = trio.current_time()
    await system.stop()
    assert trio.current_time() == began
    await trio.sleep(1000)
    assert len(attempts) == tried


# -- rule 4: starting and stopping


async def test_each_start_is_finished_before_the_next_and_stops_are_in_reverse(system: ActorSystem) -> None:
    diary: list[str] = []
    children = [ChildSpec(name, Counter, args=(diary, 1.0, 1.0)) for name in "abc"]
    await system.spawn(SupervisorSpec("s", children=children))
    await system.stop()
    assert diary == ["+s/a", "+s/b", "+s/c", "~s/c", "-s/c", "~s/b", "-s/b", "~s/a", "-s/a"]


async def test_if_a_start_fails_what_was_started_is_stopped_and_nothing_is_kept(system: ActorSystem) -> None:
    diary: list[str] = []

    class Broken(Actor):
        async def started(self) -> None:
            raise OSError("no disk")

    children = [counter("a", diary), counter("b", diary), ChildSpec("c", Broken)]
    with pytest.raises(ActorCrashed) as caught:
        await system.spawn(SupervisorSpec("s", children=children))
    assert isinstance(root_cause(caught.value), OSError)
    assert diary == ["+s/a", "+s/b", "~s/b", "-s/b", "~s/a", "-s/a"]
    assert system.addresses() == []


def root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


async def test_a_start_that_takes_too_long_fails(system: ActorSystem) -> None:
    with pytest.raises(ActorCrashed) as caught:
        await system.spawn(ChildSpec("a", Counter, args=(None, 60.0), start_timeout=2))
    assert isinstance(caught.value.__cause__, StartTimeout)
    assert system.whereis("a") is None


async def test_a_child_that_does_not_stop_in_time_is_cancelled_and_its_end_is_known(system: ActorSystem) -> None:
    diary: list[str] = []
    ref = await system.spawn(ChildSpec("a", Counter, args=(diary, 0.0, 60.0), shutdown=2))
    inbox = await monitor(system, "a")
    began = trio.current_time()
    await system.stop()
    assert trio.current_time() - began == pytest.approx(2)
    assert diary == ["+a", "~a"]
    assert isinstance(inbox[0], Killed), ref


async def monitor(system: ActorSystem, address: str) -> list[object]:
    """The exits of *address*, as telemetry tells them."""
    exits: list[object] = []

    def listen(event: object) -> None:
        if event.metadata["address"] == address:  # type: ignore[attr-defined]
            exits.append(event.metadata["exit"])  # type: ignore[attr-defined]

    system.telemetry.attach("exits", listen, events=["actor.stop"])
    return exits


async def test_shutdown_kill_cancels_without_asking(system: ActorSystem) -> None:
    diary: list[str] = []
    await system.spawn(counter("a", diary, shutdown=KILL))
    await system.stop()
    assert diary == ["+a"]


async def test_a_busy_child_is_asked_first_and_finishes_its_message(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    async with trio.open_nursery() as nursery:
        answers: list[str] = []

        async def asker() -> None:
            answers.append(await system.ask("a", Doze(2)))

        nursery.start_soon(asker)
        await trio.testing.wait_all_tasks_blocked()
        await system.stop()
    assert answers == ["rested"]


# -- rule 6: what a restart keeps


async def test_a_restart_keeps_address_queued_mail_and_ref_but_not_state(system: ActorSystem) -> None:
    ref = await system.spawn(counter("a"))
    await ref.ask(Add(41))
    async with trio.open_nursery() as nursery:
        failed: list[ActorCrashed] = []
        answers: list[int] = []

        async def crasher() -> None:
            try:
                await ref.ask(Crash())
            except ActorCrashed as error:
                failed.append(error)

        async def adder() -> None:
            answers.append(await ref.ask(Add(1)))

        nursery.start_soon(crasher)
        await trio.testing.wait_all_tasks_blocked(0.0)
        nursery.start_soon(adder)
    assert isinstance(failed[0].__cause__, ValueError)
    assert answers == [1]
    assert system.whereis("a") != ref  # another epoch
    assert system.whereis("a").address == ref.address  # type: ignore[union-attr]


async def test_mail_behind_a_crash_is_delivered_to_the_next_incarnation_and_the_crash_is_not_retried(
    system: ActorSystem,
) -> None:
    ref = await system.spawn(counter("a"))
    ref.tell(Crash())
    for _ in range(10):
        ref.tell(Add(1))
    assert await ref.ask(Get()) == 10
    node = system.node("a")
    assert node is not None
    assert node.restarts == 1


async def test_equal_messages_that_crash_too_often_become_dead_letters(system: ActorSystem) -> None:
    ref = await system.spawn(
        SupervisorSpec("s", children=[counter("a", poison_after=2)], max_restarts=100, backoff=NO_WAIT)
    )
    for _ in range(2):
        await crash(system, "s/a")
    with pytest.raises(ActorCrashed, match="not tried"):
        await system.ask("s/a", Crash())
    await crash_with(system, "s/a", "another")  # a different message is tried
    assert system.dead_letters.counts["poison"] == 1
    await trio.sleep(61)  # nothing is poison for ever
    await crash(system, "s/a")
    assert ref.address == "s"


async def crash_with(system: ActorSystem, address: str, why: str) -> None:
    with pytest.raises(ActorCrashed, match=why):
        await system.ask(address, Crash(why))


# -- rule 7: isolation and trio's rules


async def test_a_crash_is_never_seen_by_a_sibling(system: ActorSystem) -> None:
    await system.spawn(trio_of(Strategy.ONE_FOR_ONE, []))
    await system.ask("s/a", Add(7))
    await crash(system, "s/b")
    assert await system.ask("s/a", Get()) == 7


async def test_keyboard_interrupt_in_a_handler_passes_through_the_system() -> None:
    class Interrupted(Actor):
        @receive
        def crash(self, message: Crash) -> None:
            raise KeyboardInterrupt

    with trio.fail_after(1000), pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - the block is what raises
        async with open_system(leaks=False) as system:
            ref = await system.spawn(ChildSpec("a", Interrupted))
            ref.tell(Crash())
            await trio.sleep_forever()
    assert caught.group_contains(KeyboardInterrupt)


async def test_an_exception_group_crashes_the_actor_like_any_exception(system: ActorSystem) -> None:
    class Grouped(Actor):
        @receive
        async def crash(self, message: Crash) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._fail)
                await trio.sleep_forever()

        async def _fail(self) -> None:
            raise ValueError("inner")

    await system.spawn(ChildSpec("a", Grouped))
    with pytest.raises(ActorCrashed) as caught:
        await system.ask("a", Crash())
    assert isinstance(caught.value.__cause__, ExceptionGroup)


async def test_what_the_block_raises_comes_out_as_it_is_after_an_orderly_stop() -> None:
    diary: list[str] = []
    with trio.fail_after(1000), pytest.raises(LookupError):  # noqa: PT012 - the block is what raises
        async with open_system() as system:
            await system.spawn(counter("a", diary))
            raise LookupError("mine")
    assert diary == ["+a", "~a", "-a"]


async def test_cancelling_the_block_kills_the_tree_at_once_children_first() -> None:
    diary: list[str] = []
    began = trio.current_time()
    with trio.move_on_after(3) as scope:
        async with open_system() as system:
            await system.spawn(ChildSpec("a", Counter, args=(diary, 0.0, 100.0)))
            await system.wait_stopped()
    assert scope.cancelled_caught
    assert trio.current_time() - began == pytest.approx(3)
    assert diary == ["+a"]
    assert system.ended


async def test_a_killed_supervisor_kills_its_children_first_and_comes_back_with_them(system: ActorSystem) -> None:
    diary: list[str] = []
    await system.spawn(trio_of(Strategy.ONE_FOR_ONE, diary))
    epoch = system.whereis("s/a")
    diary.clear()
    await system.kill("s")
    await settle(system, "s/a", "s/b", "s/c")
    assert diary == ["+s/a", "+s/b", "+s/c"]  # nobody was asked to stop
    assert system.whereis("s/a") != epoch


async def test_a_supervisor_begins_again_with_all_of_its_specification(system: ActorSystem) -> None:
    children = [counter("a", restart=Restart.TEMPORARY), counter("b")]
    await system.spawn(SupervisorSpec("s", children=children))
    await system.ask("s/a", Quit())
    await wait_exit(system, "s/a")
    await trio.testing.wait_all_tasks_blocked()
    assert system.whereis("s/a") is None
    await system.restart("s")
    tree = system.node("s")
    assert tree is not None
    assert [child.address for child in tree.children] == ["s/a", "s/b"]


async def test_a_child_that_crashes_while_its_siblings_are_still_starting_is_restarted(system: ActorSystem) -> None:
    children = [counter("a"), ChildSpec("b", Counter, args=(None, 5.0))]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.spawn, SupervisorSpec("s", children=children))
        await trio.sleep(1)
        await crash(system, "s/a")
    assert await system.ask("s/a", Get()) == 0
    assert trio.current_time() == pytest.approx(5)


async def test_killing_the_root_cuts_a_slow_stop_short(system: ActorSystem) -> None:
    slow = [ChildSpec(name, Counter, args=(None, 0.0, 100.0), shutdown=1000) for name in "ab"]
    await system.spawn(SupervisorSpec("s", children=slow))
    await system.spawn(DynamicSpec("d", "k", lambda key: ChildSpec(key, Counter, args=(None, 0.0, 100.0))))
    await system.ensure("k/1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.stop)
        await trio.sleep(1)
        await system.kill("")
    assert trio.current_time() == pytest.approx(1)
    assert system.ended


async def test_every_incarnation_has_one_start_and_one_stop_event_even_if_its_leaving_is_called_off(
    system: ActorSystem,
) -> None:
    events: list[str] = []
    system.telemetry.attach("t", lambda event: events.append(event.name), events=["actor.start", "actor.stop"])
    await system.spawn(
        DynamicSpec("d", "k", lambda key: ChildSpec(key, Counter, args=(None, 0.0, 2.0), idle_after=5.0))
    )
    await system.ensure("k/1")
    await trio.sleep(6)
    assert await system.ask("k/1", Add()) == 1
    assert events == ["actor.start", "actor.start", "actor.stop", "actor.start"]
