"""What to do after a failed attempt: once more, the next model, or no more. Pure: time and chance are the caller's."""

import random
from typing import TypeAlias

import attrs

from understudy.actors.errors import DomainError
from understudy.actors.inference.errors import UpstreamFailed, UpstreamTimedOut
from understudy.backoff import Backoff


@attrs.frozen
class RetryPolicy:
    """Attempts in all, and the pauses between them: none longer than the backoff's limit is worth waiting.

    ``patience`` is the longest pause while there is a fallback to ask instead.
    """

    attempts: int = 3
    backoff: Backoff = attrs.field(factory=lambda: Backoff(base=1.0, limit=20.0, jitter=0.5))
    patience: float = 2.0


@attrs.define
class RetryBudget:
    """Attempts after a failure that one turn has made so far, over all of its inferences, at whichever provider."""

    spent: int = 0


@attrs.frozen
class Again:
    """Ask the same model once more after ``pause`` seconds."""

    pause: float


@attrs.frozen
class Next:
    """Ask the next fallback at once."""


@attrs.frozen
class GiveUp:
    """Tell the caller."""


Step: TypeAlias = Again | Next | GiveUp


def next_step(
    error: DomainError, attempt: int, left: int, others: int, policy: RetryPolicy, rng: random.Random
) -> tuple[Step, int]:
    """The step after *error*, and what it costs of the budget.

    *attempt* counts from 1 at this model, *left* is what the budget still allows, *others* how many fallbacks are left.
    A provider that was not even asked (circuit open, no slot) is passed over for nothing. Otherwise the same model is
    asked again as long as that leaves an attempt for each fallback.
    """
    if not isinstance(error, (UpstreamFailed, UpstreamTimedOut)):
        return (Next() if others else GiveUp()), 0
    if left < 1:
        return GiveUp(), 0
    if error.retryable and left > others:
        pause = max(policy.backoff.delay(attempt, rng), error.retry_after or 0.0)
        if pause <= (policy.patience if others else policy.backoff.limit):
            return Again(pause), 1
    if others and error.elsewhere:
        return Next(), 1
    return GiveUp(), 0
