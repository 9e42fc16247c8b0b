"""Tools for testing what is built on the kernel. A second public door: import it as ``understudy.runtime.testing``.

    async def test_the_account_survives_a_crash(autojump_clock: MockClock) -> None:
        async with open_system(seed=7) as system:
            account = await system.spawn(ChildSpec("ada", Account))
            ...

Time is trio's, so pytest-trio's ``autojump_clock`` (or `run`) makes every timeout instant.
"""

from __future__ import annotations

import random
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio
import trio._core._run as trio_run  # for its dice, which trio's own Hypothesis plugin takes hold of in the same way
import trio.testing
from trio.lowlevel import ParkingLot

from understudy.runtime.actor import Actor
from understudy.runtime.actorcell import ActorCell
from understudy.runtime.cell import State
from understudy.runtime.errors import NotRunning
from understudy.runtime.handlers import Handler
from understudy.runtime.system import ActorSystem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping

    from understudy.runtime.exits import Exit

M = TypeVar("M")
T = TypeVar("T")

A_DAY = 86_400.0


def seed_scheduler(seed: int) -> None:
    """Make trio's scheduling follow *seed*: the same seed gives the same interleaving, in any process."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # noqa: SLF001 - as that plugin does
    trio_run._r.seed(seed)  # noqa: SLF001


@asynccontextmanager
async def open_system(
    name: str = "test", *, seed: int = 0, leaks: bool = True, **options: Any
) -> AsyncGenerator[ActorSystem]:
    """Open a system whose jitter and scheduling follow *seed*, without a watchdog thread.

    Unless *leaks* is false, leaving the block checks that the system left nothing behind (`assert_nothing_leaked`).
    """
    seed_scheduler(seed)
    options.setdefault("loop_hold", None)
    system = ActorSystem(name, rng=random.Random(seed), **options)  # noqa: S311 - chance in a test
    async with system:
        yield system
    if leaks:
        assert_nothing_leaked(system)


def run(fn: Callable[..., Awaitable[T]], *args: Any, seed: int = 0, limit: float = A_DAY) -> T:
    """Run ``fn(*args)`` under trio, seeded, with a clock that jumps over every wait; *limit* is in seconds of its time.

    The limit is what ends a deadlock: with nothing left to wait for, a jumping clock would spin for ever.
    """

    async def bounded() -> T:
        with trio.fail_after(limit):
            return await fn(*args)

    seed_scheduler(seed)
    return trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))


class Probe(Actor):
    """Takes any message, remembers it, and lets a test wait for the next one.

    Spawn it with ``ChildSpec("probe", Probe, args=(inbox := Inbox(),))`` and read from the inbox.
    """

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        inbox.probe = self

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__handlers__ = _Anything(cls.__handlers__)

    def take(self, message: object) -> None:
        """Remember *message*."""
        self.inbox.put(message)


class _Anything(dict[type, Handler]):
    """A table that has the same handler for every type."""

    def get(self, key: type, default: Any = None) -> Any:
        return Handler(Probe.take, awaits=False)


Probe.__handlers__ = _Anything()


class Inbox:
    """What a `Probe` has received."""

    def __init__(self) -> None:
        self.all: list[object] = []
        self.probe: Probe | None = None
        self._new: deque[object] = deque()
        self._lot = ParkingLot()

    def put(self, message: object) -> None:
        """Add *message*."""
        self.all.append(message)
        self._new.append(message)
        self._lot.unpark_all()

    async def next(self, kind: type[M], timeout: float = 5.0) -> M:
        """Return the next message, which must be a *kind*; wait for it at most *timeout* seconds.

        Raises:
            AssertionError: Another message came first.
            trio.TooSlowError: None came.
        """
        with trio.fail_after(timeout):
            while not self._new:
                await self._lot.park()
        message = self._new.popleft()
        if not isinstance(message, kind):
            raise AssertionError(f"expected {kind.__name__}, got {message!r}")  # noqa: TRY004 - a test's verdict
        return message

    def assert_quiet(self) -> None:
        """Raise AssertionError if something is there that `next` has not returned."""
        if self._new:
            raise AssertionError(f"unexpected: {list(self._new)!r}")


@attrs.define
class ChaosMonkey:
    """Kills actors at random: of the given kinds (all when None), *rate* a second, by the dice of *seed*.

    Run it beside the load: ``nursery.start_soon(monkey.run)`` and cancel it when enough is enough.
    """

    system: ActorSystem
    seed: int = 0
    rate: float = 20.0
    kinds: Collection[str] | None = None
    spare: Collection[str] = ()
    killed: list[str] = attrs.field(factory=list)

    async def run(self) -> None:
        """Kill, for ever. Leaves only by cancellation, or when the system has ended."""
        dice = random.Random(self.seed)  # noqa: S311  # no secret
        while not self.system.ended:
            await trio.sleep(dice.expovariate(self.rate))
            prey = [address for address in self._prey() if address not in self.spare]
            if not prey:
                continue
            address = dice.choice(prey)
            try:
                await self.system.kill(address)
            except NotRunning:
                continue  # it left by itself in the meantime
            self.killed.append(address)

    def _prey(self) -> Iterator[str]:
        kinds = [None] if self.kinds is None else sorted(self.kinds)
        for kind in kinds:
            yield from sorted(self.system.addresses(kind))


def assert_nothing_leaked(system: ActorSystem) -> None:
    """Raise AssertionError, with a list, if *system* (ended or not) keeps what nobody can want any more.

    An ended system must have no tasks, names, timers or monitors. A live one is looked at for those of dead actors.
    """
    leaks: list[str] = []
    if system.ended:
        leaks += [f"name {address}" for address in system.addresses()]
        leaks += [f"task {task.name}" for task in system.tasks()]
        leaks += [f"scheduled {entry!r}" for entry in system.schedule.entries()]
        leaks += [f"watcher {watch!r}" for watch in system.watchers]
    for cell in system.cells():
        if cell.state is State.ENDED and not system.ended:
            leaks.append(f"name of the dead {cell.address}")
        if isinstance(cell, ActorCell) and not cell.running:
            owned: Mapping[str, object] = {
                "work": cell.works,
                "timers": cell.timers,
                "monitors": cell.watching,
                "links": cell.links,
                "promises": cell.deferred,
            }
            leaks += [f"{what} of {cell.address}" for what, things in owned.items() if things]
    if leaks:
        raise AssertionError("leaked: " + ", ".join(leaks))


async def wait_exit(system: ActorSystem, address: str) -> Exit | None:
    """Wait until the present incarnation at *address* has ended; return why. None when nothing is there."""
    cell = system.find(address)
    if cell is None:
        return None
    await cell.wait_over()
    return cell.exit
