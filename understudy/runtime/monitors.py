"""Monitors: one `Down`, exactly, for everyone who asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from understudy.runtime.messages import Down

if TYPE_CHECKING:
    from understudy.runtime.actorcell import ActorCell
    from understudy.runtime.cell import Cell
    from understudy.runtime.exits import Exit


@final
class Monitor:
    """Handle of one monitor. Made by `Actor.monitor`; ends with the incarnation that made it, or by `cancel`."""

    __slots__ = ("_target", "_watcher", "active", "address")

    def __init__(self, watcher: ActorCell, address: str) -> None:
        self._watcher = watcher
        self._target: Cell | None = None
        self.address = address
        self.active = True

    def attach(self, target: Cell) -> None:
        """Watch *target*."""
        self._target = target
        if target.monitors is None:
            target.monitors = {}
        target.monitors[self] = None

    def cancel(self) -> None:
        """Stop watching: no `Down` arrives any more."""
        if self.active:
            self.active = False
            if self._target is not None and self._target.monitors is not None:
                self._target.monitors.pop(self, None)
            self._watcher.forget_monitor(self)

    def tell(self, exit: Exit) -> None:
        """The target has ended: send the one `Down`."""
        if self.active:
            self.active = False
            self._watcher.forget_monitor(self)
            self._watcher.put_system(Down(self.address, exit))
