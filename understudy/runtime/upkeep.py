"""Checks that the kernel makes on an incarnation from time to time: is it idle, is it getting on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.runtime.errors import NoProgress

if TYPE_CHECKING:
    from understudy.runtime.actorcell import ActorCell


class _Check:
    """Belongs to one incarnation and repeats until that has ended."""

    __slots__ = ("cell", "epoch", "seconds")

    def __init__(self, cell: ActorCell, seconds: float) -> None:
        self.cell = cell
        self.epoch = cell.epoch
        self.seconds = seconds
        cell.system.schedule.at(cell.system.now() + seconds, self)

    @property
    def live(self) -> bool:
        """Whether the incarnation is still there."""
        return self.cell.running and self.cell.epoch == self.epoch

    def fire(self, now: float) -> None:
        """Look, and come back when there may be something to see."""
        self.cell.system.schedule.at(max(self.look(now), now + 1e-3), self)

    def look(self, now: float) -> float:
        """Act if it is time to; return when to look again."""
        raise NotImplementedError


class IdleCheck(_Check):
    """Passivates an actor that has been quiet for ``idle_after``. One entry per actor, not one per message."""

    __slots__ = ()

    def look(self, now: float) -> float:
        """Ask the actor to leave if it has been quiet long enough."""
        if not self.cell.is_quiet():
            return now + self.seconds
        due = self.cell.idle_since + self.seconds
        if due > now:
            return due
        self.cell.passivate()
        return now + self.seconds


class ProgressCheck(_Check):
    """Aborts an incarnation whose handler or work has made no progress for ``progress_timeout``."""

    __slots__ = ()

    def look(self, now: float) -> float:
        """Crash the actor if something in it is stuck; else return when something may be."""
        cell = self.cell
        stamps = [work.progressed for work in cell.works or ()]
        if cell.envelope is not None:
            stamps.append(max(cell.began, cell.progressed))
        oldest = min(stamps, default=now)
        if oldest + self.seconds <= now:
            cell.crash_with(NoProgress(f"{cell.address}: no progress for {now - oldest:.3g} s"))
        return oldest + self.seconds
