"""The public face: what is exported, what handlers may look like, and the tools for tests (rule 24)."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import understudy.runtime as runtime
from tests.support.kernel import Add, Counter, Get, Note, counter
from understudy.runtime import Actor, ActorSystem, Ask, ChildSpec, DynamicSpec, Restart, receive
from understudy.runtime.testing import ChaosMonkey, Inbox, Probe, assert_nothing_leaked, open_system, run

KERNEL = Path(runtime.__file__).parent


def test_the_kernel_imports_trio_attrs_and_the_standard_library_only() -> None:
    import sys

    for file in (*KERNEL.glob("*.py"), KERNEL.parent / "backoff.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.split(".")[0]
                ours = name.startswith("understudy.runtime") or name == "understudy.backoff"  # which is as plain
                assert ours or top in {"trio", "attrs"} | sys.stdlib_module_names, (file.name, name)


def test_every_public_name_is_exported_once_and_documented() -> None:
    tree = ast.parse((KERNEL / "__init__.py").read_text())
    exported = [alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert len(exported) == len(set(exported))
    for name in exported:
        assert name is not None
        thing = getattr(runtime, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, name


# -- handlers


@attrs.frozen
class Ping(Ask[str]):
    pass


@attrs.frozen
class Pong(Ask[str]):
    pass


async def test_a_handler_may_take_a_union_and_an_override_needs_no_mark(system: ActorSystem) -> None:
    class Base(Actor):
        @receive
        def both(self, message: Ping | Pong) -> str:
            return type(message).__name__

    class Derived(Base):
        def both(self, message: Ping | Pong) -> str:
            return "derived " + super().both(message)

    ref = await system.spawn(ChildSpec("a", Derived))
    assert await ref.ask(Ping()) == "derived Ping"
    assert await ref.ask(Pong()) == "derived Pong"


def test_handlers_that_cannot_work_are_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="both receive"):

        class Twice(Actor):
            @receive
            def one(self, message: Ping) -> str:
                return ""

            @receive
            def two(self, message: Ping) -> str:
                return ""

    with pytest.raises(TypeError, match="annotate"):

        class Untyped(Actor):
            @receive
            def one(self, message) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
                return ""

    with pytest.raises(TypeError, match="one message"):

        class Wide(Actor):
            @receive
            def one(self, message: Ping, more: int) -> str:
                return ""


async def test_a_handler_on_its_way_out_may_use_a_long_batch_without_starving_others(system: ActorSystem) -> None:
    greedy = await system.spawn(ChildSpec("greedy", Counter, mailbox_limit=10**6))
    modest = await system.spawn(counter("modest"))
    for _ in range(10_000):
        greedy.tell(Note())
    assert await modest.ask(Get()) == 0
    assert system.node("greedy").handled < 10_000  # type: ignore[union-attr]


# -- rule 24: tools for tests


async def test_a_probe_takes_any_message_and_lets_a_test_wait_for_it(system: ActorSystem) -> None:
    inbox = Inbox()
    ref = await system.spawn(ChildSpec("probe", Probe, args=(inbox,)))
    ref.tell(Note(1))
    ref.tell("anything")
    assert await inbox.next(Note) == Note(1)
    with pytest.raises(AssertionError, match="anything"):
        await inbox.next(Note)
    inbox.assert_quiet()
    with pytest.raises(trio.TooSlowError):
        await inbox.next(Note, timeout=2)


def history(seed: int) -> list[object]:
    """What happens in a small, busy system whose actors are killed at random."""
    seen: list[object] = []

    async def scenario() -> None:
        async with open_system(seed=seed) as system:
            system.telemetry.attach("t", lambda event: seen.append((event.at, event.name, str(event.metadata))))
            await system.spawn(DynamicSpec("d", "k", counter))
            monkey = ChaosMonkey(system, seed=seed, rate=20, kinds=["k"])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(monkey.run)
                for number in range(20):
                    nursery.start_soon(_load, system, f"k/{number % 5}")
                await trio.sleep(3)
                nursery.cancel_scope.cancel()
            assert monkey.killed

    async def _load(system: ActorSystem, address: str) -> None:
        while True:
            try:
                await system.ask(address, Add())
            except runtime.RuntimeFault as error:
                seen.append(repr(error))
            await trio.sleep(0.01)

    run(scenario, seed=seed)
    return seen


def test_the_same_seed_gives_the_same_interleaving_and_another_seed_another() -> None:
    assert history(1) == history(1)
    assert history(1) != history(2)


async def test_the_leak_assertion_finds_what_a_dead_actor_left() -> None:
    async with open_system(leaks=False) as system:
        await system.spawn(counter("a", restart=Restart.TEMPORARY))
        assert_nothing_leaked(system)
        cell = system.find("a")
    assert cell is not None
    assert_nothing_leaked(system)
    system.register(cell)
    with pytest.raises(AssertionError, match="name a"):
        assert_nothing_leaked(system)


async def test_an_actor_that_is_spawned_by_a_cancelled_caller_is_not_left_behind(system: ActorSystem) -> None:
    with trio.move_on_after(1):
        await system.spawn(ChildSpec("a", Counter, args=(None, 10.0)))
    await wait_all_tasks_blocked()
    assert system.whereis("a") is None
