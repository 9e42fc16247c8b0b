"""Properties of supervision, over random trees and random scripts of crashes, kills, restarts and load."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.kernel import Add, Crash, Get, Quit, counter
from understudy.runtime import (
    ActorSystem,
    Backoff,
    DynamicSpec,
    Restart,
    RuntimeFault,
    Spec,
    Strategy,
    SupervisorSpec,
    TelemetryEvent,
    TreeNode,
)
from understudy.runtime.intensity import Intensity
from understudy.runtime.plan import group, restarts
from understudy.runtime.testing import open_system, run

QUICK = Backoff(base=0.01, limit=0.1)


@attrs.frozen
class Leaf:
    restart: Restart


@attrs.frozen
class Branch:
    strategy: Strategy
    children: list[Leaf | Branch]


trees: st.SearchStrategy[Leaf | Branch] = st.recursive(
    st.builds(Leaf, st.sampled_from(Restart)),
    lambda inner: st.builds(Branch, st.sampled_from(Strategy), st.lists(inner, min_size=1, max_size=4)),
    max_leaves=10,
)
actions = st.lists(
    st.tuples(st.sampled_from(["crash", "crash", "kill", "restart", "quit", "ask", "wait"]), st.integers(0, 1000)),
    max_size=20,
)


def spec_of(tree: Leaf | Branch, name: str, diary: list[str], budget: int) -> Spec:
    if isinstance(tree, Leaf):
        return counter(name, diary, restart=tree.restart, poison_after=10**6)
    children = [spec_of(child, f"c{n}", diary, budget) for n, child in enumerate(tree.children)]
    return SupervisorSpec(name, strategy=tree.strategy, children=children, max_restarts=budget, backoff=QUICK)


def walk(node: TreeNode) -> Iterator[TreeNode]:
    yield node
    for child in node.children:
        yield from walk(child)


async def act(system: ActorSystem, action: str, address: str) -> None:
    with contextlib.suppress(RuntimeFault):
        match action:
            case "crash":
                await system.ask(address, Crash(), timeout=1)
            case "quit":
                await system.ask(address, Quit(), timeout=1)
            case "ask":
                await system.ask(address, Add(), timeout=1)
            case "kill":
                await system.kill(address)
            case "restart":
                with trio.move_on_after(5):
                    await system.restart(address)
            case _:
                await trio.sleep(0.5)


@settings(max_examples=60)
@given(tree=trees, script=actions, seed=st.integers(0, 3), budget=st.sampled_from([0, 2, 10**6]))
def test_whatever_happens_the_tree_settles_whole_and_stops_clean(
    tree: Leaf | Branch, script: list[tuple[str, int]], seed: int, budget: int
) -> None:
    async def scenario() -> None:
        diary: list[str] = []
        events: list[TelemetryEvent] = []
        async with open_system(seed=seed, max_restarts=10**6, backoff=QUICK) as system:
            system.telemetry.attach("all", events.append, events=["actor.start", "actor.stop"])
            await system.spawn(spec_of(tree, "top", diary, budget))
            for action, pick in script:
                addresses = system.addresses()
                if addresses:
                    await act(system, action, addresses[pick % len(addresses)])
            await trio.sleep(60)
            # Everybody who is still named has settled: it runs and answers, or is a supervisor that runs.
            for node in walk(system.tree()):
                assert node.state == "idle", node
                if node.kind == "counter":
                    assert await system.ask(node.address, Get()) >= 0
            # Permanent actors are all there, as long as their supervisors are.
            assert set(system.addresses()) == {node.address for node in walk(system.tree())} - {""}
        # One start and one stop per incarnation, in that order, never two at a time at one address.
        alive: set[object] = set()
        for event in events:
            address = event.metadata["address"]
            if event.name == "actor.start":
                assert address not in alive
                alive.add(address)
            else:
                alive.discard(address)
        assert alive == set()

    run(scenario, seed=seed)


@settings(max_examples=60)
@given(tree=trees, seed=st.integers(0, 3))
def test_every_tree_starts_in_order_and_stops_in_reverse(tree: Leaf | Branch, seed: int) -> None:
    async def scenario() -> None:
        diary: list[str] = []
        async with open_system(seed=seed) as system:
            await system.spawn(spec_of(tree, "top", diary, 3))
            started = [entry[1:] for entry in diary]
            in_tree = [node.address for node in walk(system.tree()) if node.kind == "counter"]
            assert started == in_tree
            diary.clear()
        assert [entry[1:] for entry in diary if entry[0] == "-"] == started[::-1]

    run(scenario, seed=seed)


@settings(max_examples=40)
@given(
    script=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["add", "add", "crash", "kill", "idle"])), max_size=40
    ),
    seed=st.integers(0, 3),
    quarantine=st.sampled_from([None, 5.0]),
)
def test_every_ask_is_answered_or_fails_by_name_and_no_message_is_handled_twice(
    script: list[tuple[int, str]], seed: int, quarantine: float | None
) -> None:
    async def scenario() -> None:
        async with open_system(seed=seed, max_restarts=10**6, backoff=QUICK) as system:
            spec = DynamicSpec(
                "d",
                "k",
                lambda key: counter(key, poison_after=10**6, idle_after=2.0),
                quarantine=quarantine,
                backoff=QUICK,
                max_restarts=2,
            )
            await system.spawn(spec)
            outcomes: list[object] = []

            async def asker(address: str) -> None:
                try:
                    outcomes.append(await system.ask(address, Add(), timeout=100))
                except RuntimeFault as error:
                    outcomes.append(error)

            asked = 0
            async with trio.open_nursery() as nursery:
                for who, what in script:
                    address = f"k/{who}"
                    match what:
                        case "add":
                            asked += 1
                            nursery.start_soon(asker, address)
                        case "idle":
                            await trio.sleep(1.5)
                        case _:
                            await act(system, what, address)
            assert len(outcomes) == asked
            await trio.sleep(100)
            assert system.addresses("k") == []  # all idle, all gone

    run(scenario, seed=seed)


@given(
    order=st.lists(st.integers(), unique=True, min_size=1, max_size=9),
    strategy=st.sampled_from(Strategy),
    data=st.data(),
)
def test_every_plan_restarts_the_failed_one_and_keeps_the_order(
    order: list[int], strategy: Strategy, data: st.DataObject
) -> None:
    failed = data.draw(st.sampled_from(order))
    plan = list(group(strategy, order, failed))
    assert failed in plan
    assert plan == [child for child in order if child in plan]
    if strategy is Strategy.REST_FOR_ONE:
        assert plan[0] == failed
        assert plan[-1] == order[-1]


@given(stamps=st.lists(st.floats(0, 1000), min_size=1, max_size=50).map(sorted), limit=st.integers(0, 5))
def test_a_budget_is_what_the_last_window_holds(stamps: list[float], limit: int) -> None:
    budget = Intensity(limit, 10.0)
    for n, now in enumerate(stamps):
        within = sum(now - stamp <= 10.0 for stamp in stamps[: n + 1])
        assert budget.spend(now) is (within <= limit)


def test_only_abnormal_ends_restart_a_transient_child() -> None:
    from understudy.runtime import Crashed, Killed, Normal, NotFound, Shutdown

    verdicts = [
        restarts(Restart.TRANSIENT, end)
        for end in (Normal(), Shutdown("x"), NotFound(), Killed(), Crashed(ValueError()))
    ]
    assert verdicts == [False, False, False, True, True]
