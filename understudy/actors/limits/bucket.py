"""A token bucket, as a value."""

import attrs


@attrs.frozen
class Rate:
    """So many in any one period: ``capacity`` tokens, all of them back ``period`` seconds after the first was taken."""

    capacity: int
    period: float = 60.0


@attrs.frozen
class TokenBucket:
    """Tokens left of a `Rate` at a moment.

    It is refilled whole and not drop by drop, because the contract says "30 in 60 s": were tokens to come back one by
    one, the 31st request of a minute would be let through whenever the 30 before it took a few seconds. Over any
    stretch of *t* seconds at most ``capacity * (t // period + 2)`` can be taken. A clock that steps back gives nothing
    and takes nothing.
    """

    rate: Rate
    tokens: int
    at: float
    """The newest time it was looked at."""
    opened: float | None = None
    """When the first token was taken since it was full; None while it is full."""

    @classmethod
    def full(cls, rate: Rate, now: float) -> "TokenBucket":
        """A bucket nobody has taken from."""
        return cls(rate, rate.capacity, now)

    def refilled(self, now: float) -> "TokenBucket":
        """The bucket as it is at *now*."""
        at = max(now, self.at)
        if self.opened is not None and at - self.opened >= self.rate.period:
            return TokenBucket.full(self.rate, at)
        return attrs.evolve(self, at=at)

    def taken(self) -> "TokenBucket":
        """The bucket with one token fewer; only to be asked for when `allows`."""
        opened = self.at if self.opened is None else self.opened
        return attrs.evolve(self, tokens=self.tokens - 1, opened=opened)

    @property
    def allows(self) -> bool:
        """Whether there is a token to take."""
        return self.tokens > 0

    @property
    def wait(self) -> float:
        """Seconds until there is a token; 0 when there is one."""
        return 0.0 if self.allows else self.refill

    @property
    def refill(self) -> float:
        """Seconds until the bucket is full; 0 when it is."""
        return 0.0 if self.opened is None else max(0.0, self.opened + self.rate.period - self.at)
