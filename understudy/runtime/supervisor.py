"""Supervisors: they start children in order, hear of every end, and decide."""

from __future__ import annotations

import functools
from collections import deque
from typing import TYPE_CHECKING, ClassVar

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from understudy.runtime.cell import Cell, State
from understudy.runtime.childspec import KILL, Restart, Spec, SupervisorSpec
from understudy.runtime.errors import ActorCrashed, BadSpec, NotRunning, RestartsExceeded
from understudy.runtime.exits import Crashed, Exit, Killed, Shutdown, error_of
from understudy.runtime.intensity import Intensity
from understudy.runtime.plan import group, restarts
from understudy.runtime.schedule import Call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trio.lowlevel import Task

    from understudy.runtime.backoff import Backoff
    from understudy.runtime.childspec import DynamicSpec
    from understudy.runtime.system import ActorSystem

WITH_SUPERVISOR = Shutdown("its supervisor stopped")


class GiveUp(Exception):
    """The budget is spent, or a significant child has gone: this supervisor ends with *exit*."""

    def __init__(self, exit: Exit) -> None:  # noqa: A002
        super().__init__(exit)
        self.exit = exit


class Supervisor(Cell):
    """What static and dynamic supervisors share: a task that hears of ends and dies children first."""

    __slots__ = ("_inbox", "_parked", "budget", "stopping_children")

    kind = "supervisor"
    is_supervisor: ClassVar[bool] = True
    spec: SupervisorSpec | DynamicSpec  # type: ignore[mutable-override]  # never reassigned

    def __init__(
        self, system: ActorSystem, parent: Supervisor | None, spec: SupervisorSpec | DynamicSpec, address: str
    ) -> None:
        super().__init__(system, parent, spec, address)
        self._inbox: deque[object] = deque()
        self._parked: Task | None = None
        self.stopping_children = False
        self.budget = Intensity(spec.max_restarts, spec.window)

    @property
    def type_name(self) -> str:  # type: ignore[override]
        """The kind of supervisor."""
        return type(self).__name__

    # -- orders --------------------------------------------------------------------------------------------------------

    def stop(self, reason: Exit) -> None:
        """Ask it to stop its children, in reverse order, and then itself."""
        if self.running and self.ending is None:
            self.ending = reason
            if self.scope is not None:
                self.scope.cancel()

    def kill(self, exit: Exit | None = None) -> None:  # noqa: A002
        """Cancel it: its children are killed first, and waited for."""
        if self.running and self.kill_exit is None:
            self.kill_exit = Killed() if exit is None else exit
            if self.scope is not None:
                self.scope.cancel()
            if self.stopping_children:
                for child in self.children_view():
                    child.kill(self.kill_exit)

    def suspend(self) -> None:
        """Decide nothing until `resume`: children that end stay down."""
        self.suspended = True
        if self.state is State.IDLE:
            self.set_state(State.SUSPENDED)

    def resume(self) -> None:
        """Go on, with what has happened meanwhile first."""
        self.suspended = False
        if self.state is State.SUSPENDED:
            self.set_state(State.IDLE)
        self.wake()

    def wake(self) -> None:
        """Look at the inbox."""
        task, self._parked = self._parked, None
        if task is not None:
            reschedule(task)

    def post(self, event: object) -> None:
        """Put *event* into the supervisor's inbox."""
        self._inbox.append(event)
        self.wake()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        self.stopping_children = self.suspended = False
        end = await self._live()
        self.set_state(State.STOPPING)
        self.stopping_children = True
        if self.kill_exit is not None:
            for child in self.children_view():
                child.kill(self.kill_exit)
        # Shielded: a supervisor that is being cancelled must still reap its children. Bounded, because each child is.
        with trio.CancelScope(shield=True):
            await self._stop_children(WITH_SUPERVISOR)
        self._inbox.clear()
        self._over(self.kill_exit or end)

    async def _live(self) -> Exit:
        try:
            with trio.CancelScope() as self.scope:
                if self.ending is not None or self.kill_exit is not None:
                    self.scope.cancel()
                await self._start_children()
                self.set_state(State.IDLE)
                self.ever_started = True
                if self.system.telemetry.active:
                    self.system.telemetry.started(self)
                self._notify()
                await self._supervise()
        except GiveUp as verdict:
            return verdict.exit
        return self.kill_exit or self.ending or Killed("cancelled")

    async def _start_children(self) -> None:
        """Start what should be running from the beginning."""

    async def _stop_children(self, reason: Exit) -> None:
        """Stop every child and wait for all of them."""
        raise NotImplementedError

    async def _supervise(self) -> None:
        while True:
            while self._inbox and not self.suspended:
                await self._decide(self._inbox.popleft())
            self._parked = current_task()
            await wait_task_rescheduled(self._unpark)

    def _unpark(self, _raise_cancel: object) -> Abort:
        self._parked = None
        return Abort.SUCCEEDED

    async def _decide(self, event: object) -> None:
        raise NotImplementedError

    def child_over(self, child: Cell) -> None:
        """Hear that an incarnation of *child* has ended. Called from the child's task: must not block."""
        raise NotImplementedError

    def adopt(self, spec: Spec) -> Cell:
        """Make a further child and launch it."""
        raise NotImplementedError

    def hurry(self, child: Cell) -> None:
        """Start *child* now, if it is waiting for its backoff."""
        raise NotImplementedError

    # -- the budget ----------------------------------------------------------------------------------------------------

    def _delay(self, child: Cell, backoff: Backoff) -> float:
        """Count one more restart of *child* in a row and return how long to wait before it."""
        now = self.system.now()
        if now - child.since >= backoff.stable_after:
            child.attempts = 0
        seconds = backoff.delay(child.attempts, self.system.rng)
        child.attempts += 1
        return seconds

    def _give_up(self, child: Cell, exit: Exit) -> GiveUp:  # noqa: A002
        error = RestartsExceeded(
            f"{self.address or '/'}: {child.address} was restarted {self.budget.limit} times in {self.budget.window} s"
        )
        error.__cause__ = error_of(exit)
        if self.system.telemetry.active:
            self.system.telemetry.escalated(self, child)
        return GiveUp(Crashed(error))

    def _note_restart(self, child: Cell, now: float) -> None:
        child.restarts += 1
        if child.intensity is None:
            child.intensity = Intensity(self.spec.max_restarts, self.spec.window)
        child.intensity.spend(now)
        if self.system.telemetry.active:
            self.system.telemetry.restarting(child)

    def bury(self, exit: Exit) -> None:  # noqa: A002
        """The supervisor has ended for good, and with it its children."""
        if self.state is State.ENDED:
            return
        for child in self.children_view():
            child.bury(child.exit if child.exit is not None else exit)
        super().bury(exit)

    def snapshot(self) -> Mapping[str, object]:
        """What `inspect` shows of a supervisor."""
        return {
            "children": len(self.children_view()),
            "max_restarts": self.spec.max_restarts,
            "window": self.spec.window,
            "restarts_in_window": self.budget.spent(self.system.now()),
        }


class _Due:
    """In a supervisor's inbox: the backoff of these children is over."""

    __slots__ = ("children", "turn")

    def __init__(self, children: Sequence[Cell], turn: int) -> None:
        self.children = children
        self.turn = turn


class StaticSupervisor(Supervisor):
    """Named children, started in order and stopped in reverse, under one of three strategies."""

    __slots__ = ("_resume", "children", "partitioned")

    spec: SupervisorSpec  # type: ignore[mutable-override]  # never reassigned

    def __init__(self, system: ActorSystem, parent: Supervisor | None, spec: SupervisorSpec, address: str) -> None:
        super().__init__(system, parent, spec, address)
        self.children: list[Cell] = []
        self.partitioned = False
        # The part of a group that was still to be started when one of it failed.
        self._resume: Sequence[Cell] = ()
        for child in spec.children:
            self._make(child)

    def children_view(self) -> Sequence[Cell]:
        """The children, in starting order."""
        return self.children

    def _make(self, spec: Spec) -> Cell:
        address = f"{self.address}/{spec.id}" if self.address else spec.id
        cell = self.system.make_cell(self, spec, address)
        self.children.append(cell)
        return cell

    def adopt(self, spec: Spec) -> Cell:
        """Start one more child, last in order."""
        if self.state not in (State.IDLE, State.SUSPENDED):
            raise NotRunning(self.address or "/", f"it is {self.state.value}")
        if any(child.id == spec.id for child in self.children):
            raise BadSpec(f"{self.address}/{spec.id}: two children with this id")
        cell = self._make(spec)
        cell.adopted = True
        cell.launch()
        return cell

    def hurry(self, child: Cell) -> None:
        """Start *child*, and what was to be restarted with it, now."""
        self.post(_Due([sibling for sibling in self.children if sibling.turn == child.turn], child.turn))

    def disown(self, child: Cell) -> None:
        """Forget a child that will not run again."""
        if child in self.children:
            self.children.remove(child)

    async def _start_children(self) -> None:
        # A restarted supervisor begins with everything its specification names, also what had ended for good.
        for place, spec in enumerate(self.spec.children):
            if all(child.id != spec.id for child in self.children):
                cell = self._make(spec)
                self.children.insert(place, self.children.pop())
                cell.attempts = 0
        for child in list(self.children):
            child.attempts = 0
            child.launch()
            if not await child.wait_settled():
                error = ActorCrashed(child.address, "did not start")
                error.__cause__ = error_of(child.exit) if child.exit is not None else None
                raise GiveUp(Crashed(error))

    def child_over(self, child: Cell) -> None:
        """Decide about it in the supervisor's own task."""
        if child.adopted and not child.ever_started and not child.expected:
            child.expected = True
            self.disown(child)
            child.bury(child.exit if child.exit is not None else Killed())
        elif not child.expected and not self.stopping_children and self.state is not State.STARTING:
            self.post(child)

    async def _decide(self, event: object) -> None:
        if isinstance(event, _Due):
            # A later plan that covers the same child has given it another turn: this one is void.
            await self._start_group([child for child in event.children if child.turn == event.turn])
        elif isinstance(event, Cell) and not event.running and event.state is not State.ENDED and not event.expected:
            await self._child_ended(event)

    async def _child_ended(self, child: Cell) -> None:
        exit = child.exit  # noqa: A001
        if exit is None or child not in self.children:
            return
        child.expected = True  # from here on the end is dealt with
        if not child.forced and (child.final or not restarts(child.spec.restart, exit)):
            self.disown(child)
            child.bury(exit)
            if child.spec.significant:
                raise GiveUp(Shutdown(f"{child.address}, which is significant, ended"))
            await self._start_group(self._resume)
            return
        now = self.system.now()
        seconds = 0.0
        if not child.free:
            if not self.budget.spend(now):
                raise self._give_up(child, exit)
            seconds = self._delay(child, self.spec.backoff)
        affected = list(group(self.spec.strategy, self.children, child))
        for sibling in reversed(affected):
            if sibling is not child:
                await self._stop_child(sibling, Shutdown(f"{child.address} is being restarted"))
        affected = [sibling for sibling in affected if sibling.state is not State.ENDED]
        self._resume = ()
        turn = next(self.system.turns)
        for sibling in affected:
            sibling.turn = turn
            self._note_restart(sibling, now)
        if seconds > 0:
            # Not slept here: a stop, or another child's end, must be able to get in between.
            child.backoff = Call(
                self.system.schedule, now + seconds, functools.partial(self.post, _Due(affected, turn))
            )
        else:
            await self._start_group(affected)

    async def _start_group(self, cells: Sequence[Cell]) -> None:
        waiting = [cell for cell in cells if not cell.running and cell.state is not State.ENDED]
        self._resume = ()
        for index, cell in enumerate(waiting):
            cell.launch()
            if not await cell.wait_settled():
                # Its end is in the inbox by now, and the decision there covers the rest of the group.
                self._resume = waiting[index + 1 :]
                return

    async def _stop_child(self, child: Cell, reason: Exit) -> None:
        """Ask, wait, cancel, and wait again; afterwards the child is down or buried."""
        child.expected = True
        if child.running:
            child.final = child.final or self.final
            limit = None
            if child.spec.shutdown == KILL:
                child.kill(Killed("its shutdown is KILL"))
            else:
                child.stop(reason)
                limit = limit_stop(child)
            try:
                await child.wait_over()
            finally:
                if limit is not None:
                    limit.cancel()
        # A temporary child is not restarted with its group. When the supervisor itself ends, its specification decides.
        if self.final or (child.spec.restart is Restart.TEMPORARY and (child.adopted or not self.stopping_children)):
            self.disown(child)
            child.bury(child.exit if child.exit is not None else reason)

    async def _stop_children(self, reason: Exit) -> None:
        for child in reversed(list(self.children)):
            await self._stop_child(child, reason)


def limit_stop(child: Cell) -> Call | None:
    """Kill *child* when its time to stop is over."""
    seconds = child.spec.shutdown
    if seconds == float("inf"):
        return None
    epoch = child.epoch

    def cut() -> None:
        if child.running and child.epoch == epoch:
            child.kill(Killed(f"did not stop within {seconds} s"))

    return Call(child.system.schedule, child.system.now() + seconds, cut)
