"""What an operator can do to a running tree: the part of `ActorSystem` that dashboards and consoles use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from understudy.runtime.actorcell import ActorCell
from understudy.runtime.cell import State
from understudy.runtime.errors import InspectFailed, NotRunning
from understudy.runtime.exits import Killed, Shutdown
from understudy.runtime.supervisor import limit_stop
from understudy.runtime.trace import TraceEntry, entry_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from understudy.runtime.cell import Cell
    from understudy.runtime.ref import Ref
    from understudy.runtime.registry import Registry


class Controls:
    """The operator's controls. They travel beside the mail, so that a wedged actor obeys them too."""

    _registry: Registry

    def find(self, address: str) -> Cell | None:
        """Return the cell at *address*."""
        raise NotImplementedError

    async def ensure(self, address: str) -> Ref:
        """Return the live actor at *address*."""
        raise NotImplementedError

    async def inspect(self, address: str) -> Mapping[str, object]:
        """Return the actor's own ``snapshot()``, at once, even when it is wedged in a handler.

        Raises:
            NotRunning: Nothing is there.
            InspectFailed: The snapshot raised; the actor is unharmed.
        """
        await trio.lowlevel.checkpoint()
        cell = self._must_find(address)
        try:
            return cell.snapshot()
        except Exception as error:
            raise InspectFailed(f"{address}: {error!r}") from error

    def trace(self, address: str) -> tuple[TraceEntry, ...]:
        """Return the last messages of the actor, oldest first.

        Raises:
            NotRunning: Nothing is there.
        """
        cell = self._must_find(address)
        ring = cell.ring if isinstance(cell, ActorCell) else None
        return tuple(entry_of(raw) for raw in ring or ())

    async def suspend(self, address: str) -> None:
        """Make it hold its mail, from the next message on. Inspecting, stopping and killing still work.

        Raises:
            NotRunning: Nothing is there.
        """
        await trio.lowlevel.checkpoint()
        self._must_find(address).suspend()

    async def resume(self, address: str) -> None:
        """Undo `suspend`.

        Raises:
            NotRunning: Nothing is there.
        """
        await trio.lowlevel.checkpoint()
        self._must_find(address).resume()

    async def kill(self, address: str) -> None:
        """Cancel it at once, without ``stopping()``; wait until it has ended.

        Its supervisor restarts it as its policy says. That costs nothing of the restart budget and waits for no
        backoff: an operator is no accident.

        Raises:
            NotRunning: Nothing is there.
        """
        await trio.lowlevel.checkpoint()
        cell = self._must_find(address)
        cell.free = True
        cell.kill(Killed("killed by an operator"))
        await cell.wait_over()

    async def restart(self, address: str) -> None:
        """Stop it in good order (within its ``shutdown``) and start it again, whatever its policy; wait for the start.

        One that waits for its backoff, or is quarantined, is started at once.

        Raises:
            NotRunning: Nothing is there, or it is the root.
            ActorCrashed: It did not start again.
        """
        await trio.lowlevel.checkpoint()
        if self.find(address) is None and self._registry.pardon(address):
            await self.ensure(address)
            return
        cell = self._must_find(address)
        if cell.parent is None:
            raise NotRunning("/", "the root cannot be restarted")
        epoch = cell.epoch
        if cell.running:
            cell.free = cell.forced = True
            cell.stop(Shutdown("restarted by an operator"))
            limit = limit_stop(cell)
            await cell.wait_over()
            if limit is not None:
                limit.cancel()
        else:
            cell.parent.hurry(cell)
        while cell.epoch == epoch and cell.state is not State.ENDED:
            await cell.wait_change()
        await cell.wait_started()

    def _must_find(self, address: str) -> Cell:
        cell = self.find(address)
        if cell is None:
            raise NotRunning(address)
        return cell
