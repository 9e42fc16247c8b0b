"""What an actor may answer instead of doing what it was asked.

Every class is a `Refusal`: it reaches the asker and the actor lives on. ``code`` is its name in the API; which
HTTP status it becomes is decided in one table, `understudy.http.errors`.

    Refusal
      DomainError
        Invalid             the request itself is wrong; nothing was changed
        Unauthenticated     no identity, or one that no longer counts
          TokenReplay       a rotated refresh token was used again
        Forbidden           known, but not allowed
          ModelRestricted   ... in this workspace, on this provider or model
        NotFound            no such thing, or not yours to know of
        Conflict            true of another state than the present one
        PreconditionFailed  it was to happen only if nobody had changed the thing, and somebody has
        TooLarge            more than is kept of such a thing
        RateLimited         too many; try again after ``retry_after`` seconds
        QuotaExceeded       the agent's quota does not suffice until ``retry_after`` has passed
          TokenBudgetExceeded  ... the user's budget
          TurnBudgetExceeded   ... what the agent may use in one turn
        ContextTooLarge     more than the agent's model can be told at once
        Unavailable         something we stand on is away; try again
        AgentPaused         the agent failed so often that it is left alone until ``retry_after``
        ProviderFailed      the model's provider failed after its retries
          CircuitOpen       ... so often that we do not ask it now
        TimedOut            longer than the request may take
        TurnCancelled       somebody stopped the turn
        Interrupted         the turn ended because its actor or node did
"""

from typing import ClassVar

import attrs

from understudy.runtime import Refusal


@attrs.frozen
class Detail:
    """One thing wrong with a request: where (``message``, ``model.temperature``), what, and the bound it broke."""

    path: str
    issue: str
    max: int | None = None


class DomainError(Refusal):
    """Base of what actors refuse with."""

    code: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, details: tuple[Detail, ...] = (), retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.retry_after = retry_after


class Invalid(DomainError):
    """The request is wrong in itself; ``details`` names each field."""

    code = "VALIDATION"


class Unauthenticated(DomainError):
    """The caller is not who they must be: no token, an expired, forged or revoked one, a wrong password."""

    code = "UNAUTHENTICATED"


class TokenReplay(Unauthenticated):
    """A refresh token that had been rotated away was used again: its whole family is revoked."""

    code = "TOKEN_REPLAY"


class Forbidden(DomainError):
    """The caller is known and may not do this."""

    code = "FORBIDDEN"


class ModelRestricted(Forbidden):
    """The workspace does not allow the provider or the model that the agent would run on."""

    code = "MODEL_RESTRICTED"


class NotFound(DomainError):
    """There is no such thing, or none that the caller may know of."""

    code = "NOT_FOUND"


class Conflict(DomainError):
    """The request contradicts the present state: a taken e-mail, a busy session, a key reused with another body."""

    code = "CONFLICT"


class PreconditionFailed(DomainError):
    """The caller named the state they had seen, and it is no longer the present one."""

    code = "PRECONDITION_FAILED"


class TooLarge(DomainError):
    """It would be larger than such a thing may be."""

    code = "PAYLOAD_TOO_LARGE"


class RateLimited(DomainError):
    """Too many requests; ``retry_after`` says when one more would be served."""

    code = "RATE_LIMIT"


class QuotaExceeded(DomainError):
    """What the agent may use in this hour or day is used up or spoken for; the next begins after ``retry_after``."""

    code = "QUOTA_EXCEEDED"


class TokenBudgetExceeded(QuotaExceeded):
    """What the user may use in this month is used up or spoken for."""

    code = "TOKEN_BUDGET_EXCEEDED"


class TurnBudgetExceeded(QuotaExceeded):
    """The next inference would take the turn beyond what its agent may use in one; what had been said is kept."""

    code = "TURN_BUDGET_EXCEEDED"


class ContextTooLarge(DomainError):
    """What the model must be told does not fit its window, also after leaving out what can be left out."""

    code = "CONTEXT_TOO_LARGE"


class Unavailable(DomainError):
    """The database or another thing we stand on is away for the moment."""

    code = "UNAVAILABLE"


class AgentPaused(DomainError):
    """The agent failed several times in a row in this workspace; it is left alone until ``retry_after`` has passed."""

    code = "AGENT_PAUSED"


class ProviderFailed(DomainError):
    """The model's provider refused, failed or fell silent."""

    code = "PROVIDER_ERROR"


class CircuitOpen(ProviderFailed):
    """The provider failed so often that it is left alone until ``retry_after``."""

    code = "CIRCUIT_OPEN"


class TimedOut(DomainError):
    """The request took longer than it may."""

    code = "TIMEOUT"


class TurnCancelled(DomainError):
    """The turn was stopped by request."""

    code = "CANCELLED"


class Interrupted(DomainError):
    """The turn ended with the actor or the process that ran it; what had been streamed is kept."""

    code = "INTERRUPTED"


def refusal(code: str, message: str) -> DomainError:
    """The error that was told as *code* somewhere else: in a turn's last event, in a stored answer."""
    kinds = [DomainError]
    for kind in kinds:
        if kind.code == code:
            return kind(message)
        kinds.extend(kind.__subclasses__())
    return DomainError(message)
