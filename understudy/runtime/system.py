"""`ActorSystem`: the root of a tree, its registry, and the door for everybody who is no actor.

Longer than most files, since a door has many handles and each says what to expect of it: most only hand on, to
`registry`, `controls`, `subscription`, `watch` and the cells.
"""

from __future__ import annotations

import contextvars
import itertools
import math
import random
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import trio
from trio.lowlevel import checkpoint, checkpoint_if_cancelled

from understudy.backoff import Backoff
from understudy.runtime.actorcell import ActorCell
from understudy.runtime.cell import Cell, State
from understudy.runtime.childspec import Spec, SupervisorSpec, check
from understudy.runtime.context import HERE, Origin, Outside, limits_here
from understudy.runtime.controls import Controls
from understudy.runtime.crash import Crash
from understudy.runtime.deadletters import DeadLetters
from understudy.runtime.errors import AskTimeout, NotRunning, Refusal, SystemDown
from understudy.runtime.exits import Crashed, Exit, Killed, Shutdown, error_of
from understudy.runtime.mailcell import DEFAULT_TIMEOUT, MailCell
from understudy.runtime.registry import Registry
from understudy.runtime.schedule import Schedule
from understudy.runtime.static import StaticSupervisor
from understudy.runtime.subscription import Subscription
from understudy.runtime.telemetry import Telemetry
from understudy.runtime.tree import TreeNode, node_of
from understudy.runtime.watch import TreeWatch
from understudy.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
    from types import TracebackType

    from understudy.runtime.eventlog import EventLog
    from understudy.runtime.messages import Ask
    from understudy.runtime.ref import Ref

R = TypeVar("R")

ASKS_PER_BREATH = 16
"""Asks that are answered on the spot, one after the other, before everybody else gets a turn."""


class ActorSystem(Controls):
    """One supervision tree on one trio loop. ``async with ActorSystem("bank") as system: …``.

    Leaving the block stops the tree in order; leaving it by cancellation kills it. If the root supervisor gives up, the
    system ends by itself: `wait_stopped` returns then, and leaving the block raises `SystemDown`.

    Args:
        name: For people.
        rng: Where jitter comes from.
        max_restarts, window: The root supervisor's budget.
        loop_hold: Seconds that a handler may keep the loop before it is reported; None does not look.
    """

    def __init__(
        self,
        name: str,
        *,
        rng: random.Random | None = None,
        max_restarts: int = 3,
        window: float = 5.0,
        backoff: Backoff | None = None,
        loop_hold: float | None = 0.1,
    ) -> None:
        self.name = name
        self.rng = rng if rng is not None else random.Random()  # noqa: S311 - jitter, no secret
        pauses = Backoff() if backoff is None else backoff
        self._root_spec = SupervisorSpec("root", max_restarts=max_restarts, window=window, backoff=pauses)
        self._loop_hold = loop_hold
        self.epochs = itertools.count(1)
        self.turns = itertools.count(1)
        self.watchers: dict[TreeWatch, None] = {}
        self.late_replies = 0
        self._breaths = 0
        self.exit: Exit | None = None
        self._clean = contextvars.Context()

    # -- opening and closing -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._block = self._open()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        clock = trio.lowlevel.current_clock()
        self.now: Callable[[], float] = clock.current_time
        self.schedule = Schedule(self.now)
        self.telemetry = Telemetry(self.now)
        self.dead_letters = DeadLetters(self.telemetry)
        self._registry = Registry(self)
        self._ended = trio.Event()
        self._clean = contextvars.copy_context()
        self._clean.run(HERE.set, None)
        self._root = StaticSupervisor(self, None, self._root_spec, "")
        gave_up = False
        held: BaseException | None = None
        async with trio.open_nursery() as outer:
            await outer.start(self._hold_nursery)
            self.start_task(self.schedule.run, "schedule")
            with Watchdog(self, self._loop_hold):
                self._root.launch()
                with trio.CancelScope(shield=True):  # takes one turn of the loop: the root has no children yet
                    await self._root.wait_settled()
                try:
                    yield
                    gave_up = isinstance(self.exit, Crashed)
                except BaseException as error:  # noqa: BLE001 - raised again below, as it is: outside, so that the
                    held = error  # nursery does not wrap it in a group
                    if not isinstance(error, Exception):
                        self._root.kill(Killed("the system was cancelled"))
                with trio.CancelScope(shield=True):
                    await self.stop()
                for watch in self.watchers:
                    watch.finish()
            self._nursery.cancel_scope.cancel()
        if held is not None:
            raise held
        if gave_up and self.exit is not None:
            raise SystemDown(f"{self.name}: the root supervisor gave up") from error_of(self.exit)

    async def _hold_nursery(self, task_status: trio.TaskStatus[None]) -> None:
        # Shielded: when the block is cancelled the tree still ends children first, instead of everywhere at once. In a
        # task of its own, because a shield around the block would keep cancellation from the block as well.
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.cancel_scope.shield = True
                task_status.started()
                await trio.sleep_forever()
        finally:
            # Nothing of the tree runs any more: after a KeyboardInterrupt this is how the block's end learns of it.
            if self.exit is None:
                self.exit = Killed("the tree was torn down")
            self._ended.set()

    async def stop(self, reason: Exit | None = None) -> None:
        """Stop the tree: children in reverse order of their start, each within its ``shutdown``. Waits for the end.

        If this is cancelled the stop goes on without the caller.
        """
        self._root.final = True
        self._root.stop(reason if reason is not None else Shutdown("the system is stopping"))
        await self._ended.wait()

    async def wait_stopped(self) -> Exit:
        """Wait until the tree has ended, by `stop` or because the root gave up; return why."""
        await self._ended.wait()
        return self.exit if self.exit is not None else Killed()

    @property
    def ended(self) -> bool:
        """Whether the tree has ended."""
        return self.exit is not None

    # -- children ------------------------------------------------------------------------------------------------------

    async def spawn(self, spec: Spec, under: str | None = None) -> Ref:
        """Start a child under the supervisor at *under* (default the root), last in order; wait until it has started.

        Raises:
            BadSpec: *spec* contradicts itself, or its name or kind is taken; nothing was started.
            NotRunning: There is no such supervisor, or it is not running.
            ActorCrashed: It did not start; it is not kept. ``__cause__`` says why.
            Refusal: Its ``started()`` refused.
        """
        parent = self._root if under is None else self._registry.supervisor(under)
        check(spec, self._registry.kinds())
        cell = parent.adopt(spec)
        try:
            started = await cell.wait_settled()
        except trio.Cancelled:
            cell.kill()  # nobody learns of it, so nobody could ever stop it
            raise
        if not started:
            error = error_of(cell.exit) if cell.exit is not None else None
            raise error if isinstance(error, Refusal) else cell.obituary()
        return cell.ref

    def make_cell(self, parent: StaticSupervisor, spec: Spec, address: str) -> Cell:
        """Make and register the cell of a static child. For supervisors."""
        return self._registry.make(parent, spec, address)

    def register(self, cell: Cell) -> None:
        """Give *cell* its name."""
        self._registry.add(cell)

    def forget(self, cell: Cell) -> None:
        """Take the name away again."""
        self._registry.remove(cell)
        if self.watchers:
            self.mark(cell)

    # -- finding -------------------------------------------------------------------------------------------------------

    def find(self, address: str) -> Cell | None:
        """Return the cell at *address*."""
        return self._registry.get(address) if address else self._root

    def cells(self) -> Sequence[Cell]:
        """Return every cell, the root first."""
        return [self._root, *self._registry]

    def whereis(self, address: str) -> Ref | None:
        """Return a reference to whatever is alive at *address* (starting and backing off count), else None."""
        cell = self.find(address)
        return None if cell is None else cell.ref

    def addresses(self, kind: str | None = None) -> Sequence[str]:
        """Return the addresses of all actors and supervisors, or of those of one *kind*."""
        return [cell.address for cell in self._registry if kind is None or cell.kind == kind]

    def activate(self, address: str) -> MailCell:
        """Return the cell at *address*, launching it if a dynamic supervisor can. Does not wait for its start."""
        return self._registry.activate(address)

    def successor(self, cell: Cell) -> Cell | None:
        """Return who takes the mail of a buried *cell*: who lives there now, or is activated because it passivated."""
        alive = self._registry.get(cell.address)
        if alive is None and isinstance(cell, ActorCell) and cell.passivated:
            return self._registry.activate(cell.address)
        return alive

    async def ensure(self, address: str) -> Ref:
        """Return the live actor at *address*, activating it if need be, once it has started.

        However many callers race, there is one activation. An actor between restarts is waited for.

        Raises:
            NotRunning: Nothing is there and nothing can be activated.
            Quarantined, TooManyChildren: Not now.
            ActorCrashed: It did not start; ``__cause__`` says why.
            Refusal: Its ``started()`` refused.
        """
        try:
            cell = self._registry.activate(address)
        except NotRunning:
            cell = await self._registry.activated(address)
        if cell.running and cell.state is not State.STARTING:
            await trio.lowlevel.checkpoint()
        await cell.wait_started()
        return cell.ref

    async def events_of(self, address: str) -> EventLog[Any] | None:
        """Return the event log of the live actor at *address*, activating it if need be."""
        while True:
            cell = await self._registry.activated(address)
            await cell.wait_started()
            if isinstance(cell, ActorCell) and cell.actor is not None:
                return cell.actor.events

    # -- mail ----------------------------------------------------------------------------------------------------------

    async def breathe(self) -> None:
        """A checkpoint for an ask that has nothing to wait for: cancelled always, letting others run now and then."""
        self._breaths += 1
        if self._breaths % ASKS_PER_BREATH:
            await checkpoint_if_cancelled()
        else:
            await checkpoint()

    async def ask(self, address: str, message: Ask[R], timeout: float | None = None) -> R:
        """Ask whatever is at *address*, activating it if need be; its start counts against *timeout* (default 5 s).

        Raises:
            As `Ref.ask` and `ensure`.
        """
        try:
            cell = self._registry.activate(address)
        except NotRunning:
            # Perhaps its supervisor is between restarts; worth waiting for as long as the caller has.
            began = self.now()
            limit = min(DEFAULT_TIMEOUT if timeout is None else timeout, limits_here()[0] - began)
            with trio.move_on_after(max(0.0, limit)) as scope:
                cell = await self._registry.activated(address)
            if scope.cancelled_caught:
                raise AskTimeout(address, type(message).__name__, limit) from None
            timeout = limit - (self.now() - began)
        return cast("R", await cell.ask(message, timeout))

    def tell(self, address: str, message: object) -> None:
        """Tell whatever lives at *address*; a dead letter if nothing does. Never activates, never blocks.

        Raises:
            MailboxFull: As `Ref.tell`.
        """
        cell = self._registry.get(address)
        if cell is not None:
            cell.tell(message)
            return
        here = HERE.get()
        origin = None if here is None or here.envelope is None else here.envelope[2]
        envelope = (message, None if here is None else here.address, origin, None, self.now())
        self.dead_letters.record("not_found", address, envelope)

    def subscribe(self, address: str, after: int = 0) -> Subscription:
        """Read the events of the actor at *address* after number *after*: an async context manager and iterator.

        Entering activates the actor if need be. Ends when the log is closed.

        Raises:
            FutureSequence: On entering: *after* is beyond the log's last event.
            NoEvents: On entering: the actor has no event log.
            NotRunning, ActorCrashed, Quarantined, Refusal: It cannot be had (any more).
        """
        return Subscription(self, address, after)

    @contextmanager
    def context(
        self,
        *,
        request_id: str | None = None,
        trace: str | None = None,
        tenant: str | None = None,
        seed: str | None = None,
        deadline: float | None = None,
    ) -> Generator[None]:
        """For code that is no actor: what is sent in this block carries these, and asks end by *deadline* (trio's)."""
        origin = Origin(request_id, trace, tenant, seed)
        token = HERE.set(Outside(origin, math.inf if deadline is None else deadline))
        try:
            yield
        finally:
            HERE.reset(token)

    # -- seeing inside -------------------------------------------------------------------------------------------------

    def tree(self) -> TreeNode:
        """Return the whole tree as it is now. Does not await; about 10 µs per actor."""
        return node_of(self._root, self.now(), deep=True)

    def node(self, address: str) -> TreeNode | None:
        """Return the node at *address* with its children, or None."""
        cell = self.find(address)
        return None if cell is None else node_of(cell, self.now(), deep=True)

    def watch_tree(self) -> TreeWatch:
        """Follow changes of the tree: an async context manager and iterator of `TreeChanges`."""
        return TreeWatch(self)

    def mark(self, cell: Cell) -> None:
        """Tell watchers that *cell* has changed."""
        for watch in self.watchers:
            watch.mark(cell)

    def note_crash(self, cell: Cell) -> None:
        """A cell has crashed: supervisors get their last crash recorded here, actors did it themselves."""
        if cell.is_supervisor and isinstance(cell.exit, Crashed):
            cell.crash = Crash.of(cell.exit.error, self.now(), None)

    def tasks(self) -> Sequence[trio.lowlevel.Task]:
        """Return the tasks that run in this system: one per live actor and piece of work, and one of the kernel's."""
        return list(self._nursery.child_tasks)

    # -- for the kernel ------------------------------------------------------------------------------------------------

    def start_task(self, fn: Callable[[], Awaitable[Any]], name: str) -> None:
        """Run *fn* in the system's nursery, in a clean context: not in that of whoever happened to cause it."""
        self._clean.run(self._nursery.start_soon, fn, name=name)  # type: ignore[arg-type]  # mypy loses the name

    def root_over(self, exit: Exit) -> None:
        """The root has ended, and with it everything."""
        self.exit = exit
        self._root.bury(exit)
        self._ended.set()
