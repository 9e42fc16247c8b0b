"""Watching the tree change, for dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs
import trio
from trio.lowlevel import ParkingLot

from understudy.runtime.tree import TreeNode, node_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from understudy.runtime.cell import Cell
    from understudy.runtime.system import ActorSystem

COALESCE = 0.1
"""Seconds at least between two `TreeChanges` to one watcher."""


@attrs.frozen
class TreeChanges:
    """What is new since the last one. Nodes are shallow (no children); the first one holds every node there is."""

    changed: tuple[TreeNode, ...]
    removed: tuple[str, ...]


@final
class TreeWatch:
    """One watcher. ``async with system.watch_tree() as watch: async for changes in watch: …``.

    However slow the watcher, what it costs is one entry per changed address.
    """

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._dirty: dict[str, None] = {}
        self._lot = ParkingLot()
        self._next = 0.0
        self._first = True

    async def __aenter__(self) -> TreeWatch:
        self._system.watchers[self] = None
        return self

    async def __aexit__(self, *_: object) -> None:
        self._system.watchers.pop(self, None)

    def __aiter__(self) -> AsyncIterator[TreeChanges]:
        return self

    def mark(self, cell: Cell) -> None:
        """Note that *cell* has changed, or gone."""
        self._dirty[cell.address] = None
        if self._lot:
            self._lot.unpark_all()

    async def __anext__(self) -> TreeChanges:
        """Wait for the next change; ends when the system does. Cancelled means not consumed."""
        system = self._system
        if self._first:
            await trio.lowlevel.checkpoint()
            self._first = False
            self._dirty.clear()
            self._next = system.now() + COALESCE
            return TreeChanges(tuple(node_of(cell, system.now(), deep=False) for cell in system.cells()), ())
        while not self._dirty:
            if system.ended:
                raise StopAsyncIteration
            await self._lot.park()
        await trio.sleep_until(self._next)
        dirty, self._dirty = self._dirty, {}
        now = system.now()
        self._next = now + COALESCE
        found = [(address, system.find(address)) for address in dirty]
        return TreeChanges(
            tuple(node_of(cell, now, deep=False) for _, cell in found if cell is not None),
            tuple(address for address, cell in found if cell is None),
        )

    def finish(self) -> None:
        """The system has ended."""
        self._lot.unpark_all()
