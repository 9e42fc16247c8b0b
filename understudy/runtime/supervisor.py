"""Supervisors: they start children in order, hear of every end, and decide."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from understudy.runtime.cell import Cell, State
from understudy.runtime.childspec import Spec, SupervisorSpec
from understudy.runtime.errors import RestartsExceeded
from understudy.runtime.exits import Crashed, Exit, Killed, Shutdown, error_of
from understudy.runtime.intensity import Intensity
from understudy.runtime.schedule import Call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio.lowlevel import Task

    from understudy.backoff import Backoff
    from understudy.runtime.childspec import DynamicSpec
    from understudy.runtime.system import ActorSystem

WITH_SUPERVISOR = Shutdown("its supervisor stopped")


class GiveUp(Exception):
    """The budget is spent, or a significant child has gone: this supervisor ends with *exit*."""

    def __init__(self, exit: Exit) -> None:
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
    def type_name(self) -> str:
        """The kind of supervisor."""
        return type(self).__name__

    # -- orders --------------------------------------------------------------------------------------------------------

    def stop(self, reason: Exit) -> None:
        """Ask it to stop its children, in reverse order, and then itself."""
        if self.running and self.ending is None:
            self.ending = reason
            if self.scope is not None:
                self.scope.cancel()

    def kill(self, exit: Exit | None = None) -> None:
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
                self.begun = self.epoch
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

    def _give_up(self, child: Cell, exit: Exit) -> GiveUp:
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

    def bury(self, exit: Exit) -> None:
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
