"""A token bucket, as a value."""

import attrs


@attrs.frozen
class Rate:
    """So many at once, and as many again over ``period`` seconds."""

    capacity: int
    period: float = 60.0

    @property
    def per_second(self) -> float:
        """Tokens that come back each second."""
        return self.capacity / self.period


@attrs.frozen
class TokenBucket:
    """Tokens left of a `Rate` at a moment.

    Over any stretch of *t* seconds at most ``capacity + per_second * t`` tokens can be taken. A clock that steps back
    gives nothing and takes nothing.
    """

    rate: Rate
    tokens: float
    at: float

    @classmethod
    def full(cls, rate: Rate, now: float) -> "TokenBucket":
        """A bucket nobody has taken from."""
        return cls(rate, float(rate.capacity), now)

    def refilled(self, now: float) -> "TokenBucket":
        """The bucket as it is at *now*."""
        elapsed = max(0.0, now - self.at)
        tokens = min(float(self.rate.capacity), self.tokens + elapsed * self.rate.per_second)
        return TokenBucket(self.rate, tokens, max(now, self.at))

    def taken(self) -> "TokenBucket":
        """The bucket with one token fewer; only to be asked for when `allows`."""
        return TokenBucket(self.rate, self.tokens - 1.0, self.at)

    @property
    def allows(self) -> bool:
        """Whether there is a whole token to take."""
        return self.tokens >= 1.0

    @property
    def wait(self) -> float:
        """Seconds until there is a whole token; 0 when there is one."""
        return max(0.0, (1.0 - self.tokens) / self.rate.per_second)

    @property
    def refill(self) -> float:
        """Seconds until the bucket is full."""
        return (self.rate.capacity - self.tokens) / self.rate.per_second
