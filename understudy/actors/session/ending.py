"""What a turn came to: what the model has said and done, and the way it ended."""

import math

import attrs

from understudy.actors.errors import DomainError, Interrupted, TimedOut, TurnCancelled
from understudy.actors.inference.messages import PromptCache
from understudy.actors.session.messages import StopWay
from understudy.storage.records import TurnStatus, Usage


@attrs.frozen
class Ending:
    """How a turn ended; the error's words are what its asker is told, and in how many seconds to ask again."""

    status: TurnStatus
    error_code: str | None = None
    error_message: str | None = None
    rolled_back: bool = False
    retry_after: float | None = None

    def error_event(self, turn_id: str) -> dict[str, object]:
        """The data of the `error` event that ends a turn so."""
        told: dict[str, object] = {"message": self.error_message, "code": self.error_code, "turnId": turn_id}
        return told if self.retry_after is None else told | {"retryAfter": max(1, math.ceil(self.retry_after))}


@attrs.define
class Answer:
    """What the model has said and done so far in this turn."""

    text: list[str] = attrs.field(factory=list)
    usage: Usage = attrs.field(factory=Usage)
    cache: PromptCache = attrs.field(factory=PromptCache)
    model: str | None = None
    calls_made: int = 0
    reason: str = "stop"

    @property
    def content(self) -> str:
        """All text of the turn, over its rounds: what the `content` events add up to."""
        return "".join(self.text)


def failed(error: DomainError) -> Ending:
    """The ending of a turn whose provider, agent or limits refused."""
    return Ending(TurnStatus.FAILED, error.code, error.message, retry_after=error.retry_after)


COMPLETED = Ending(TurnStatus.COMPLETED)
CANCELLED_BY_REQUEST = Ending(TurnStatus.CANCELLED, TurnCancelled.code, "the turn was cancelled")
CANCELLED_BY_NEXT = Ending(TurnStatus.CANCELLED, TurnCancelled.code, "the turn was interrupted by a newer message")
ROLLED_BACK = Ending(TurnStatus.CANCELLED, TurnCancelled.code, "the turn was taken back", rolled_back=True)
CANCELLED_UNREAD = Ending(TurnStatus.CANCELLED, TurnCancelled.code, "the turn was cancelled: nobody was reading it")
LOST = Ending(TurnStatus.INTERRUPTED, Interrupted.code, "the turn was ended by another server, which took over")
STOPPED = {
    StopWay.CANCEL: CANCELLED_BY_REQUEST,
    StopWay.CANCEL_ONE: CANCELLED_BY_REQUEST,
    StopWay.INTERRUPT: CANCELLED_BY_NEXT,
    StopWay.ROLLBACK: ROLLED_BACK,
}
"""How a turn ends that was stopped by way of another node."""
TIMED_OUT = Ending(TurnStatus.FAILED, TimedOut.code, "the turn took longer than it may")
