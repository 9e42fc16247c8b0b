"""Dynamic supervisors: many alike children, made on demand, each on its own."""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING

import attrs
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from understudy.runtime.actorcell import ActorCell
from understudy.runtime.cell import Cell, State
from understudy.runtime.childspec import KILL, ChildSpec, DynamicSpec, Restart, Spec
from understudy.runtime.errors import BadSpec, NotRunning, Quarantined, Refusal, TooManyChildren
from understudy.runtime.exits import Crashed, Exit, Killed, Shutdown
from understudy.runtime.intensity import Intensity
from understudy.runtime.plan import restarts
from understudy.runtime.schedule import Call
from understudy.runtime.supervisor import GiveUp, Supervisor, limit_stop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from understudy.runtime.system import ActorSystem

_PRUNE_ABOVE = 1024


@attrs.define
class Trouble:
    """What a dynamic supervisor remembers of a child that crashed, also while there is no such child."""

    budget: Intensity
    until: float = 0.0


class DynamicSupervisor(Supervisor):
    """Children are independent: started, restarted and stopped concurrently, never waiting for one another.

    That is why it decides at once, in the child's own task; only giving up goes through its inbox.
    """

    __slots__ = ("_ender", "_left", "children", "max_children", "troubles")

    spec: DynamicSpec  # type: ignore[mutable-override]  # never reassigned

    def __init__(
        self, system: ActorSystem, parent: Supervisor | None, spec: DynamicSpec, address: str, max_children: int | None
    ) -> None:
        super().__init__(system, parent, spec, address)
        self.children: dict[str, ActorCell] = {}
        self.max_children = max_children
        self.troubles: dict[str, Trouble] = {}
        self._ender: Task | None = None
        self._left = 0

    def children_view(self) -> Sequence[Cell]:
        """The children, oldest first."""
        return list(self.children.values())

    # -- making children -----------------------------------------------------------------------------------------------

    def activate(self, key: str) -> ActorCell:
        """Make and launch the child with *key*. Does not wait for it.

        Raises:
            NotRunning: The supervisor is not running now.
            Quarantined: This child crashed too often.
            TooManyChildren: There is no room.
            Refusal: ``child(key)`` said no.
        """
        address = f"{self.spec.kind}/{key}"
        self._check_room(address)
        spec = self.spec.child(key)
        if not isinstance(spec, ChildSpec):
            raise BadSpec(f"{self.address}: child({key!r}) must return a ChildSpec")
        return self._make(spec, address)

    def adopt(self, spec: Spec) -> Cell:
        """Launch a child made by hand; its key is ``spec.id``."""
        if not isinstance(spec, ChildSpec):
            raise BadSpec(f"{self.address}: a dynamic supervisor has actors for children")
        address = f"{self.spec.kind}/{spec.id}"
        if address in self.children:
            raise BadSpec(f"{address}: is running already")
        self._check_room(address)
        return self._make(spec, address)

    def _check_room(self, address: str) -> None:
        if self.state not in (State.IDLE, State.SUSPENDED):
            raise NotRunning(address, f"{self.address} is {self.state.value}")
        trouble = self.troubles.get(address)
        if trouble is not None and trouble.until > (now := self.system.now()):
            raise Quarantined(address, trouble.until - now)
        if self.max_children is not None and len(self.children) >= self.max_children:
            raise TooManyChildren(self.address, self.max_children)

    def _make(self, spec: ChildSpec, address: str) -> ActorCell:
        cell = ActorCell(self.system, self, spec, address, kind=self.spec.kind)
        self.system.register(cell)
        self.children[address] = cell
        cell.launch()
        return cell

    async def _start_children(self) -> None:
        # After a restart of the supervisor: those that were to live on do, with their mail.
        for child in list(self.children.values()):
            child.launch()

    # -- ends ----------------------------------------------------------------------------------------------------------

    def child_over(self, child: Cell) -> None:
        """Decide at once."""
        if self.stopping_children:
            if self.final or child.spec.restart is Restart.TEMPORARY:
                self._remove(child)
            self._left -= 1
            if self._ender is not None and self._left <= 0:
                task, self._ender = self._ender, None
                reschedule(task)
        elif self.suspended:
            self.post(child)
        else:
            self._child_ended(child)

    async def _decide(self, event: object) -> None:
        if isinstance(event, GiveUp):
            raise event
        if isinstance(event, ActorCell) and not event.running and event.state is not State.ENDED:
            self._child_ended(event)

    def _child_ended(self, child: Cell) -> None:
        exit = child.exit
        if exit is None or not isinstance(child, ActorCell):
            return
        if not child.begun and isinstance(exit, Crashed):
            self._never_started(child, exit.error)
            return
        if not child.forced and (child.final or child.passivated or not restarts(child.spec.restart, exit)):
            if isinstance(exit, Crashed) and self.spec.quarantine is not None:
                self._afford(child)
            self._remove(child)
            if child.spec.significant:
                self.post(GiveUp(Shutdown(f"{child.address}, which is significant, ended")))
            return
        now = self.system.now()
        seconds = 0.0
        if not child.free:
            if not self._afford(child):
                if self.spec.quarantine is None:
                    self.post(self._give_up(child, exit))
                else:
                    child.last_word = Quarantined(child.address, self.spec.quarantine)
                    self._remove(child)
                return
            seconds = self._delay(child, self.spec.backoff)
        self._note_restart(child, now)
        if seconds > 0:
            turn = child.turn = next(self.system.turns)
            child.backoff = Call(self.system.schedule, now + seconds, functools.partial(self._due, child, turn))
        else:
            child.launch()

    def hurry(self, child: Cell) -> None:
        """Start *child* now, if it is waiting for its backoff."""
        if isinstance(child, ActorCell):
            self._due(child, child.turn)

    def pardon(self, address: str) -> bool:
        """Lift the quarantine of *address*; False when there was none."""
        trouble = self.troubles.pop(address, None)
        return trouble is not None and trouble.until > self.system.now()

    def _due(self, child: ActorCell, turn: int) -> None:
        """The child's backoff is over."""
        if child.turn == turn and not child.running and child.state is not State.ENDED and not self.stopping_children:
            child.launch()

    def _never_started(self, child: ActorCell, error: BaseException) -> None:
        """The very first start failed: not restarted, but told to whoever wanted the child."""
        if isinstance(error, Refusal):
            child.last_word = error
        elif not self._afford(child) and self.spec.quarantine is None:
            self.post(self._give_up(child, Crashed(error)))
        self._remove(child)

    def _afford(self, child: Cell) -> bool:
        """Spend one crash of the child's budget, or of ours; quarantine the child if its own is exceeded."""
        now = self.system.now()
        if self.spec.quarantine is None:
            return self.budget.spend(now)
        trouble = self.troubles.get(child.address)
        if trouble is None:
            self._forget_old_troubles(now)
            trouble = self.troubles[child.address] = Trouble(Intensity(self.spec.max_restarts, self.spec.window))
        if trouble.budget.spend(now):
            return True
        trouble.until = now + self.spec.quarantine
        if self.system.telemetry.active:
            self.system.telemetry.quarantined(child, self.spec.quarantine)
        return False

    def _forget_old_troubles(self, now: float) -> None:
        if len(self.troubles) > _PRUNE_ABOVE:
            self.troubles = {
                address: trouble
                for address, trouble in self.troubles.items()
                if trouble.until > now or trouble.budget.spent(now)
            }

    def _remove(self, child: Cell) -> None:
        self.children.pop(child.address, None)
        child.bury(child.exit if child.exit is not None else Killed())

    # -- stopping ------------------------------------------------------------------------------------------------------

    async def _stop_children(self, reason: Exit) -> None:
        limits: list[Call] = []
        self._left = sum(child.running for child in self.children.values())
        for child in list(self.children.values()):
            if not child.running:
                if self.final or child.spec.restart is Restart.TEMPORARY:
                    self._remove(child)
                continue
            child.final = self.final
            if child.spec.shutdown == KILL:
                child.kill(Killed("its shutdown is KILL"))
                continue
            child.stop(reason)
            limit = limit_stop(child)
            if limit is not None:
                limits.append(limit)
        while self._left > 0:
            self._ender = current_task()
            await wait_task_rescheduled(self._no_ender)
        for limit in limits:
            limit.cancel()

    def _no_ender(self, _raise_cancel: object) -> Abort:
        self._ender = None
        return Abort.SUCCEEDED

    def snapshot(self) -> Mapping[str, object]:
        """What `inspect` shows."""
        now = self.system.now()
        parked = {address: trouble.until - now for address, trouble in self.troubles.items() if trouble.until > now}
        return {**super().snapshot(), "kind": self.spec.kind, "max_children": self.max_children, "quarantined": parked}


class Router:
    """Finds the supervisor responsible for a key among the partitions of one kind."""

    __slots__ = ("partitions",)

    def __init__(self) -> None:
        self.partitions: list[DynamicSupervisor] = []

    def pick(self, key: str) -> DynamicSupervisor:
        """Return the partition of *key*: always the same one, in any process."""
        if len(self.partitions) == 1:
            return self.partitions[0]
        return self.partitions[zlib.crc32(key.encode()) % len(self.partitions)]
