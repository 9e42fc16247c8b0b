"""Names: which cell is at which address, and who can make one where there is none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from understudy.runtime.actorcell import ActorCell
from understudy.runtime.cell import Cell, State
from understudy.runtime.childspec import ChildSpec, DynamicSpec, Spec, SupervisorSpec
from understudy.runtime.dynamic import DynamicSupervisor, Router
from understudy.runtime.errors import BadSpec, NotRunning
from understudy.runtime.mailcell import MailCell
from understudy.runtime.static import StaticSupervisor
from understudy.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from understudy.runtime.system import ActorSystem


class Registry:
    """One cell per address, one router per kind."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._cells: dict[str, Cell] = {}
        self._routers: dict[str, Router] = {}

    def __iter__(self) -> Iterator[Cell]:
        return iter(list(self._cells.values()))

    def get(self, address: str) -> Cell | None:
        """Return what is at *address*."""
        return self._cells.get(address)

    def kinds(self) -> frozenset[str]:
        """Return the kinds that have a supervisor."""
        return frozenset(self._routers)

    def add(self, cell: Cell) -> None:
        """Register *cell* under its address.

        Raises:
            BadSpec: The address is taken.
        """
        if cell.address in self._cells:
            raise BadSpec(f"{cell.address}: this address is taken")
        self._cells[cell.address] = cell

    def remove(self, cell: Cell) -> None:
        """Forget *cell*, unless its name belongs to another by now."""
        if self._cells.get(cell.address) is cell:
            del self._cells[cell.address]
        if isinstance(cell, DynamicSupervisor):
            router = self._routers.get(cell.spec.kind)
            if router is not None and cell in router.partitions:
                router.partitions.remove(cell)
                if not router.partitions:
                    del self._routers[cell.spec.kind]

    def supervisor(self, address: str) -> Supervisor:
        """Return the supervisor at *address*.

        Raises:
            NotRunning: There is none.
        """
        cell = self._cells.get(address)
        if not isinstance(cell, Supervisor):
            raise NotRunning(address, "no supervisor is running there")
        return cell

    def make(self, parent: StaticSupervisor, spec: Spec, address: str) -> Cell:
        """Make the cell that *spec* describes, and those under it, and register them all."""
        cell: Cell
        match spec:
            case ChildSpec():
                cell = ActorCell(self._system, parent, spec, address)
            case SupervisorSpec():
                cell = StaticSupervisor(self._system, parent, spec, address)
            case DynamicSpec():
                cell = self._make_dynamic(parent, spec, address)
        self.add(cell)
        return cell

    def _make_dynamic(self, parent: StaticSupervisor, spec: DynamicSpec, address: str) -> Supervisor:
        if spec.partitions == 1:
            return self._partition(parent, spec, address, spec.max_children)
        # A supervisor of its own above the partitions, so that one which gives up takes no other along.
        above = SupervisorSpec(
            spec.id,
            max_restarts=spec.max_restarts,
            window=spec.window,
            backoff=spec.backoff,
            restart=spec.restart,
            shutdown=spec.shutdown,
            significant=spec.significant,
        )
        cell = StaticSupervisor(self._system, parent, above, address)
        cell.partitioned = True
        limit = None if spec.max_children is None else math.ceil(spec.max_children / spec.partitions)
        for number in range(spec.partitions):
            part = attrs.evolve(spec, id=f"~{number}", partitions=1, significant=False)
            partition = self._partition(cell, part, f"{address}/{part.id}", limit)
            self.add(partition)
            cell.children.append(partition)
        return cell

    def _partition(
        self, parent: StaticSupervisor, spec: DynamicSpec, address: str, max_children: int | None
    ) -> DynamicSupervisor:
        cell = DynamicSupervisor(self._system, parent, spec, address, max_children)
        self._routers.setdefault(spec.kind, Router()).partitions.append(cell)
        return cell

    def activate(self, address: str) -> MailCell:
        """Return the cell at *address*, launching it if its kind has a supervisor. Does not wait for its start.

        Raises:
            NotRunning: Nothing is there and nothing can be activated (now).
            Quarantined, TooManyChildren, Refusal: As `DynamicSupervisor.activate`.
        """
        cell = self._cells.get(address)
        if cell is not None:
            if isinstance(cell, MailCell):
                return cell
            raise NotRunning(address, "a supervisor takes no messages")
        router, key = self._router(address)
        if router is None:
            raise NotRunning(address)
        return router.pick(key).activate(key)

    def _router(self, address: str) -> tuple[Router | None, str]:
        kind, _, key = address.partition("/")
        return (self._routers.get(kind) if key else None), key

    def pardon(self, address: str) -> bool:
        """Lift the quarantine of *address*; False when there was none."""
        router, key = self._router(address)
        return router is not None and router.pick(key).pardon(address)

    async def activated(self, address: str) -> MailCell:
        """As `activate`, but wait for a supervisor that is between restarts."""
        while True:
            router, key = self._router(address)
            if address not in self._cells and router is not None:
                supervisor = router.pick(key)
                if supervisor.state not in (State.IDLE, State.SUSPENDED) and not supervisor.final:
                    await supervisor.wait_change()
                    continue
            return self.activate(address)
