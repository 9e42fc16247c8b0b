"""Timers: ordinary messages, later, to oneself."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from understudy.runtime.actorcell import ActorCell


@final
class Timer:
    """Handle of a timer. Made by `Actor.after` and `Actor.every`; dies with the incarnation that made it.

    After `cancel` the message does not arrive any more, even if it was in the mailbox already. A repeating timer whose
    last message has not been handled yet skips a beat instead of piling up.
    """

    __slots__ = ("_cell", "_message", "_next", "_queued", "cancelled", "live", "seconds")

    def __init__(self, cell: ActorCell, first: float, seconds: float | None, message: object) -> None:
        self._cell = cell
        self._message = message
        self._next = first
        self._queued = False
        self.seconds = seconds
        self.cancelled = False
        self.live = True
        cell.system.schedule.at(first, self)

    def cancel(self) -> None:
        """Make sure that the message does not arrive (any more)."""
        if not self.cancelled:
            self.cancelled = True
            self._cell.forget_timer(self)
            if self.live:
                self.live = False
                self._cell.system.schedule.drop()

    def fire(self, now: float) -> None:
        """Send the message, and wind up again if it repeats."""
        if not self._queued:
            self._queued = True
            self._cell.put_own(self._message, self)
        if self.seconds is None:
            self.live = False
        else:
            # Counted from the last beat, so that the timer does not drift; beats that were missed are skipped.
            missed = (now - self._next) // self.seconds
            self._next += (missed + 1) * self.seconds
            self._cell.system.schedule.at(self._next, self)

    def begin(self) -> bool:
        """The message has reached the head of the mailbox: say whether it is still wanted."""
        self._queued = False
        if self.seconds is None:
            self._cell.forget_timer(self)
        return not self.cancelled
