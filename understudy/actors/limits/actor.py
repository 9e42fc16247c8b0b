"""The actor that keeps the token buckets."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import trio

from understudy.actors.limits.bucket import Rate, TokenBucket
from understudy.actors.limits.messages import LIMITS, Allowance, Bucket, Take
from understudy.actors.lru import Lru
from understudy.runtime import Actor, ChildSpec, receive

REMEMBERED = 100_000
"""How many buckets are kept at most; who has not asked for longest gets a full one next time."""

AUTONOMOUS = 60
"""Runs and batches of one internal key in a minute."""

UNLIMITED = Allowance(allowed=True, limit=0, remaining=0, reset=0.0, retry_after=0.0)


class Limits(Actor):
    """Token buckets by class and subject, in memory: after a crash every bucket is full again."""

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(self, rates: Mapping[str, Rate], remembered: int = REMEMBERED) -> None:
        self._rates = rates
        self._buckets: Lru[Bucket, TokenBucket] = Lru(remembered)
        self._refused = 0

    @receive
    def take(self, message: Take) -> Allowance:
        """One token of each, or of none."""
        now = trio.current_time()
        looked_at = [(name, self._at(name, now)) for name in dict.fromkeys(message.buckets) if name.name in self._rates]
        if not looked_at:
            return UNLIMITED
        if not all(bucket.allows for _, bucket in looked_at):
            self._refused += 1
            return _allowance([bucket for _, bucket in looked_at], allowed=False)
        taken = [(name, bucket.taken()) for name, bucket in looked_at]
        for name, bucket in taken:
            self._buckets.put(name, bucket)
        return _allowance([bucket for _, bucket in taken], allowed=True)

    def snapshot(self) -> Mapping[str, object]:
        """The limits in force, how many buckets are kept, how many requests were refused."""
        rates = {name: rate.capacity for name, rate in self._rates.items()}
        return {"limits": rates, "buckets": len(self._buckets), "refused": self._refused}

    def _at(self, name: Bucket, now: float) -> TokenBucket:
        bucket = self._buckets.get(name)
        return TokenBucket.full(self._rates[name.name], now) if bucket is None else bucket.refilled(now)


def _allowance(buckets: Sequence[TokenBucket], *, allowed: bool) -> Allowance:
    """What the headers say: of the bucket that refuses for longest, else of the one with the least left."""
    tightest = min(buckets, key=lambda bucket: (-bucket.wait, bucket.tokens))
    return Allowance(
        allowed=allowed,
        limit=tightest.rate.capacity,
        remaining=tightest.tokens,
        reset=tightest.refill,
        retry_after=0.0 if allowed else tightest.wait,
    )


def limits_spec(*, rate_limit_max: int, user_rate_limit_max: int) -> ChildSpec:
    """The child at `LIMITS`: both numbers are per 60 s, and 0 switches a limit off.

    ``chat`` (per user) and ``address`` (per IP address) allow *rate_limit_max*, ``user`` *user_rate_limit_max*, and
    ``autonomous`` (per internal key) always `AUTONOMOUS`.
    """
    configured = {
        "chat": rate_limit_max,
        "address": rate_limit_max,
        "user": user_rate_limit_max,
        "autonomous": AUTONOMOUS,
    }
    rates = {name: Rate(most) for name, most in configured.items() if most > 0}
    return ChildSpec(LIMITS, Limits, args=(rates,))
