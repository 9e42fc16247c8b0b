"""The circuit breaker of a provider, as a value: every step returns the next breaker, and time is passed in."""

from enum import StrEnum

import attrs

from understudy.actors.inference.messages import SettleOutcome


class Circuit(StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"
    """Everything."""
    OPEN = "open"
    """Nothing, until its time is up."""
    HALF_OPEN = "half-open"
    """One trial at a time."""


@attrs.frozen
class BreakerPolicy:
    """Open after ``failures`` within ``window`` seconds, for ``open_for`` seconds; close after ``successes`` trials."""

    failures: int = 5
    window: float = 60.0
    open_for: float = 60.0
    successes: int = 2


@attrs.frozen
class Breaker:
    """A breaker at one moment. ``era`` counts its changes: what was admitted in another era says nothing now.

    ``opened_at`` is when it last opened, and ``opened_by`` how many failures it had seen then; closed, it has neither.
    """

    policy: BreakerPolicy = attrs.field(factory=BreakerPolicy)
    circuit: Circuit = Circuit.CLOSED
    era: int = 0
    failed_at: tuple[float, ...] = ()
    reopens_at: float = 0.0
    successes: int = 0
    trial: bool = False
    opened_at: float | None = None
    opened_by: int = 0

    def failures(self, now: float) -> int:
        """The failures that count at *now*: those of the window, or those that opened it."""
        if self.circuit is not Circuit.CLOSED:
            return self.opened_by
        return sum(at > now - self.policy.window for at in self.failed_at)

    def at(self, now: float) -> "Breaker":
        """The breaker at *now*: one whose open time is up is half-open."""
        if self.circuit is Circuit.OPEN and now >= self.reopens_at:
            return attrs.evolve(self, circuit=Circuit.HALF_OPEN, era=self.era + 1, successes=0, trial=False)
        return self

    def retry_after(self, now: float) -> float | None:
        """None when a call may be admitted at *now*; else in how many seconds to ask again."""
        breaker = self.at(now)
        if breaker.circuit is Circuit.OPEN:
            return breaker.reopens_at - now
        if breaker.circuit is Circuit.HALF_OPEN and breaker.trial:
            return 1.0
        return None

    def admit(self, now: float) -> "Breaker":
        """The breaker once a call that it allows has been admitted; the call's ticket is the new ``era``."""
        breaker = self.at(now)
        return attrs.evolve(breaker, trial=True) if breaker.circuit is Circuit.HALF_OPEN else breaker

    def settle(self, outcome: SettleOutcome, ticket: int, now: float) -> "Breaker":
        """The breaker once a call admitted with *ticket* has ended."""
        breaker = self.at(now)
        if ticket != breaker.era or breaker.circuit is Circuit.OPEN:
            return breaker
        if breaker.circuit is Circuit.CLOSED:
            return breaker._settle_closed(outcome, now)  # noqa: SLF001  its own class
        match outcome:
            case SettleOutcome.FAILED:
                return breaker._opened(now)  # noqa: SLF001  its own class
            case SettleOutcome.ABANDONED:
                return attrs.evolve(breaker, trial=False)
            case SettleOutcome.SUCCEEDED | SettleOutcome.REFUSED:
                if breaker.successes + 1 >= self.policy.successes:
                    return Breaker(self.policy, era=breaker.era + 1)
                return attrs.evolve(breaker, successes=breaker.successes + 1, trial=False)

    def _settle_closed(self, outcome: SettleOutcome, now: float) -> "Breaker":
        if outcome is not SettleOutcome.FAILED:
            return self
        oldest = now - self.policy.window
        failed_at = (*(at for at in self.failed_at if at > oldest), now)
        if len(failed_at) >= self.policy.failures:
            return self._opened(now)
        return attrs.evolve(self, failed_at=failed_at)

    def _opened(self, now: float) -> "Breaker":
        return Breaker(
            self.policy,
            Circuit.OPEN,
            era=self.era + 1,
            reopens_at=now + self.policy.open_for,
            opened_at=now,
            opened_by=self.failures(now) + 1,
        )
