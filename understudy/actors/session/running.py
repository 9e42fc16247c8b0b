"""The turn that a session has under way, who waits for it, and the ways in which it is made to end."""

from collections.abc import Callable

import attrs
import trio

from understudy.actors.errors import TimedOut, TurnCancelled
from understudy.actors.session.messages import StartTurn, TurnStarted
from understudy.actors.session.turn import Ending, Turn
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

    def cancel(self, why: Ending) -> None:
        """Stop it, unless it is already being closed; the first reason counts."""
        if self.why is None:
            self.why = why
        self.scope.cancel()


@attrs.frozen
class Unread:
    """Nobody has read the turn's events for the whole of its grace."""

    running: Running


CANCELLED_BY_REQUEST = Ending(TurnStatus.CANCELLED, TurnCancelled.code, "the turn was cancelled")
CANCELLED_BY_NEXT = Ending(TurnStatus.CANCELLED, TurnCancelled.code, "the turn was interrupted by a newer message")
ROLLED_BACK = Ending(TurnStatus.CANCELLED, TurnCancelled.code, "the turn was taken back", rolled_back=True)
CANCELLED_UNREAD = Ending(TurnStatus.CANCELLED, TurnCancelled.code, "the turn was cancelled: nobody was reading it")
TIMED_OUT = Ending(TurnStatus.FAILED, TimedOut.code, "the turn took longer than it may")
