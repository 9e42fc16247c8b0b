"""What the kernel raises, divided by what the caller can do next.

Refusal                 an actor said no; it lives on (the domain derives its own errors from this)
RuntimeFault            the kernel could not do what was asked
  NotRunning            nothing lives at this address, and nothing can be activated there
  MailboxFull           try again after ``retry_after`` seconds
  TooManyChildren       the dynamic supervisor is at its limit; try again later
  Quarantined           the actor crashed too often and is parked until ``retry_after``
  AskTimeout            no answer by the deadline
  AskCycle              the ask would have waited for itself
  ActorCrashed          the actor died while serving (or before it could); ``__cause__`` says of what
    PoisonMessage       equal messages crashed it too often; this one was not tried again
  Unhandled             the actor has no handler for this message
  FutureSequence        a reader asked for events after one that does not exist yet
  NoEvents              the actor publishes no event log
  LogDetached           the incarnation that wrote this event log is gone
  StaleIncarnation      a dead incarnation tried to act
  BadSpec               a specification contradicts itself; nothing was started
  InspectFailed         the actor's own ``snapshot()`` raised
  StartTimeout          ``started()`` did not finish within ``start_timeout``
  NoProgress            a handler or a piece of work made no progress within ``progress_timeout``
  LinkedExit            an actor this one was linked to ended abnormally
  RestartsExceeded      a supervisor gave up on a child
  SystemDown            the system ended because its root gave up
"""

from __future__ import annotations

from collections.abc import Sequence


class Refusal(Exception):
    """The actor says no. Raised in a handler it reaches the asker, and the actor lives on with its state."""


class RuntimeFault(Exception):
    """Base of everything the kernel itself raises."""


class NotRunning(RuntimeFault):
    """Nothing is running at this address and nothing can be activated there.

    You do not get this for an actor that is between restarts: the ask waits for the replacement, up to its deadline.
    """

    def __init__(self, address: str, why: str = "nothing is running there") -> None:
        super().__init__(f"{address}: {why}")
        self.address = address


class MailboxFull(RuntimeFault):
    """The mailbox is at its limit; the message was not queued. ``retry_after`` (seconds) is how old its head is."""

    def __init__(self, address: str, limit: int, retry_after: float) -> None:
        super().__init__(f"{address}: {limit} messages are waiting; try again in {retry_after:.2f} s")
        self.address = address
        self.limit = limit
        self.retry_after = retry_after


class TooManyChildren(RuntimeFault):
    """A dynamic supervisor has ``max_children`` already; nothing was started."""

    def __init__(self, address: str, limit: int, retry_after: float = 1.0) -> None:
        super().__init__(f"{address}: {limit} children are running, which is the limit")
        self.address = address
        self.limit = limit
        self.retry_after = retry_after


class Quarantined(RuntimeFault):
    """The actor crashed more often than its budget allows and is left alone for ``retry_after`` seconds."""

    def __init__(self, address: str, retry_after: float) -> None:
        super().__init__(f"{address}: crashed too often; quarantined for another {retry_after:.1f} s")
        self.address = address
        self.retry_after = retry_after


class AskTimeout(RuntimeFault):
    """The deadline passed without an answer. If the callee had not begun, it never will; a late answer is counted."""

    def __init__(self, address: str, message: str, seconds: float) -> None:
        super().__init__(f"{address}: no answer to {message} within {seconds:.3g} s")
        self.address = address
        self.message = message
        self.seconds = seconds


class AskCycle(RuntimeFault):
    """The ask would have waited for an actor that waits for us; ``chain`` names the actors in order."""

    def __init__(self, chain: Sequence[str]) -> None:
        super().__init__("ask cycle: " + " → ".join(chain))
        self.chain = tuple(chain)


class ActorCrashed(RuntimeFault):
    """The actor died before it answered. ``__cause__`` is what killed it, where that is known."""

    def __init__(self, address: str, why: str = "crashed") -> None:
        super().__init__(f"{address}: {why}")
        self.address = address


class PoisonMessage(ActorCrashed):
    """Equal messages crashed the actor too often; this one went to the dead letters instead."""


class Unhandled(RuntimeFault):
    """The actor has no handler for messages of this type."""

    def __init__(self, address: str, message: str) -> None:
        super().__init__(f"{address}: no handler for {message}")
        self.address = address


class FutureSequence(RuntimeFault):
    """A reader asked for what follows event ``after``, but the log has only reached ``last_seq``."""

    def __init__(self, after: int, last_seq: int) -> None:
        super().__init__(f"no event {after} yet: the log has reached {last_seq}")
        self.after = after
        self.last_seq = last_seq


class NoEvents(RuntimeFault):
    """The actor at this address publishes no event log."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address}: publishes no events")
        self.address = address


class LogDetached(RuntimeFault):
    """The incarnation that wrote this event log is gone; `ActorSystem.subscribe` finds the next one by itself."""


class StaleIncarnation(RuntimeFault):
    """A dead incarnation of an actor tried to start work, set a timer or publish an event."""


class BadSpec(RuntimeFault, ValueError):
    """A specification contradicts itself. Nothing was started."""


class InspectFailed(RuntimeFault):
    """The actor's own ``snapshot()`` raised; the actor is unharmed. ``__cause__`` says what."""


class StartTimeout(RuntimeFault):
    """``started()`` did not finish within ``start_timeout`` seconds."""


class NoProgress(RuntimeFault):
    """A handler or a piece of work made no progress within ``progress_timeout`` seconds and was aborted."""


class LinkedExit(RuntimeFault):
    """An actor this one was linked to ended abnormally, so this one did too."""


class RestartsExceeded(RuntimeFault):
    """A child crashed more than ``max_restarts`` times within ``window``; ``__cause__`` is its last error."""


class SystemDown(RuntimeFault):
    """The root supervisor gave up and the whole system has ended; ``__cause__`` is the last error."""
