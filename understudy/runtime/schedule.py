"""One heap and one task for everything that happens later: ask deadlines, timers, idle checks, shutdown limits."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Finished asks leave their entry behind; the heap is rebuilt when most of it is such husks.
_COMPACT_ABOVE = 1024


class Scheduled(Protocol):
    """Something with a moment. ``live`` turns false when the moment no longer matters."""

    @property
    def live(self) -> bool:
        """Whether `fire` should still be called."""

    def fire(self, now: float) -> None:
        """Do it. Runs in the schedule's task: must not block and must not raise."""


class Schedule:
    """Fires entries at their time on trio's clock. Adding and dropping cost well under a microsecond."""

    __slots__ = ("_heap", "_husks", "_numbers", "_scope", "now")

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self._heap: list[tuple[float, int, Scheduled]] = []
        self._numbers = itertools.count()
        self._husks = 0
        self._scope: trio.CancelScope | None = None

    def __len__(self) -> int:
        """How many entries still matter."""
        return sum(entry.live for _, _, entry in self._heap)

    def entries(self) -> Sequence[Scheduled]:
        """Return what is still to fire."""
        return [entry for _, _, entry in self._heap if entry.live]

    def at(self, when: float, entry: Scheduled) -> None:
        """Fire *entry* at *when*, unless it is dropped before."""
        heapq.heappush(self._heap, (when, next(self._numbers), entry))
        if self._scope is not None and when < self._scope.deadline:
            self._scope.deadline = when

    def drop(self) -> None:
        """Say that one entry is no longer live, so that its husk is swept in time."""
        self._husks += 1
        if self._husks > _COMPACT_ABOVE and self._husks * 2 > len(self._heap):
            self._heap = [item for item in self._heap if item[2].live]
            heapq.heapify(self._heap)
            self._husks = 0

    async def run(self) -> None:
        """Fire what is due, for ever. Leaves only by cancellation."""
        while True:
            now = self.now()
            while self._heap and self._heap[0][0] <= now:
                entry = heapq.heappop(self._heap)[2]
                if entry.live:
                    entry.fire(now)
                elif self._husks:
                    self._husks -= 1
            with trio.CancelScope(deadline=self._heap[0][0] if self._heap else math.inf) as self._scope:
                await trio.sleep_forever()
            # Between here and the next sleep nothing else runs, except the entries themselves, which go on the heap.
            self._scope = None


class Call:
    """A scheduled call of a plain function; `cancel` makes it moot."""

    __slots__ = ("_fn", "_schedule", "live")

    def __init__(self, schedule: Schedule, when: float, fn: Callable[[], None]) -> None:
        self.live = True
        self._fn = fn
        self._schedule = schedule
        schedule.at(when, self)

    def fire(self, now: float) -> None:
        """Call the function, once."""
        self.live = False
        self._fn()

    def cancel(self) -> None:
        """Make sure that the function is not called any more."""
        if self.live:
            self.live = False
            self._schedule.drop()
