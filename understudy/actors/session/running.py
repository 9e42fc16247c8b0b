"""The turn that a session has under way, and who waits for it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from understudy.actors.session.ending import Ending
from understudy.actors.session.messages import StartTurn, TurnStarted
from understudy.actors.session.turn import Turn
from understudy.runtime import Deferred, Timer
from understudy.storage.records import TurnStatus


class OpeningLost(Exception):
    """Whether a turn was recorded could not be learnt: the actor starts again from what the database knows."""


@attrs.define(eq=False)
class Running:
    """The turn under way and everybody who waits for its end."""

    message: StartTurn
    started: Deferred[TurnStarted]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    turn: Turn | None = None
    offered: bool = False
    why: Ending | None = None
    status: TurnStatus | None = None
    on_quiet: list[Callable[[], object]] = attrs.field(factory=list)
    unread: Timer | None = None
    read_elsewhere: float = -math.inf
    """When another node was last read from, on trio's clock."""
    abroad: bool = False
    """It waits for the end of a turn that another node runs."""

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Stop the clock of the turn: what is waited for within does not count."""
        began, deadline, self.scope.deadline = trio.current_time(), self.scope.deadline, math.inf
        try:
            yield
        finally:
            self.scope.deadline = deadline + trio.current_time() - began

    def cancel(self, why: Ending) -> None:
        """Stop it, unless it is already being closed; the first reason counts."""
        if self.why is None:
            self.why = why
        self.scope.cancel()


@attrs.frozen
class Unread:
    """Nobody has read the turn's events for the whole of its grace."""

    running: Running
