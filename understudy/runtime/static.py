"""`StaticSupervisor`: named children, started in order and stopped in reverse, under one of three strategies."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from understudy.runtime.cell import Cell, State
from understudy.runtime.childspec import KILL, Restart, Spec, SupervisorSpec
from understudy.runtime.errors import ActorCrashed, BadSpec, NotRunning
from understudy.runtime.exits import Crashed, Exit, Killed, Shutdown, error_of
from understudy.runtime.plan import group, restarts
from understudy.runtime.schedule import Call
from understudy.runtime.supervisor import GiveUp, Supervisor, limit_stop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy.runtime.system import ActorSystem


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
        if child.adopted and not child.begun and not child.expected:
            child.expected = True
            self.disown(child)
            child.bury(child.exit if child.exit is not None else Killed())
        elif self.state is State.STARTING and child.begun != child.epoch:
            pass  # `_start_children` waits for it and sees that it failed
        elif not child.expected and not self.stopping_children:
            self.post(child)

    async def _decide(self, event: object) -> None:
        if isinstance(event, _Due):
            # A later plan that covers the same child has given it another turn: this one is void.
            await self._start_group([child for child in event.children if child.turn == event.turn])
        elif isinstance(event, Cell) and not event.running and event.state is not State.ENDED and not event.expected:
            await self._child_ended(event)

    async def _child_ended(self, child: Cell) -> None:
        exit = child.exit
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
