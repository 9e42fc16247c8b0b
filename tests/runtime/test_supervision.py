"""Rules 1 to 3: who is restarted, in which order, how often, and what is refused beforehand."""

from __future__ import annotations

import contextlib
import itertools

import pytest
import trio

from tests.support.kernel import Counter, Crash, Get, Quit, counter, crash, settle, trio_of
from understudy.runtime import (
    Actor,
    ActorCrashed,
    ActorSystem,
    Backoff,
    BadSpec,
    ChildSpec,
    Crashed,
    DynamicSpec,
    NotRunning,
    Restart,
    RestartsExceeded,
    Strategy,
    SupervisorSpec,
    SystemDown,
    receive,
)
from understudy.runtime.testing import open_system, wait_exit

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
