"""What can be asked of the rate limits."""

import attrs

from understudy.runtime import Ask

LIMITS = "limits"
"""The address of the limits actor."""


@attrs.frozen
class Bucket:
    """One token bucket: the class of limit (``chat``, ``user``, ``address``) and who it is kept for."""

    name: str
    subject: str


@attrs.frozen
class Allowance:
    """Whether the request may go on, and what its answer's headers say, of the bucket nearest to its end.

    ``limit`` is that bucket's size (0: no limit applies), ``remaining`` the whole requests left in it, ``reset`` the
    seconds until it is full again, ``retry_after`` the seconds until one more request would be allowed (0 when one is).
    """

    allowed: bool
    limit: int
    remaining: int
    reset: float
    retry_after: float


@attrs.frozen
class Take(Ask[Allowance]):
    """Take one token from each of the buckets, or from none when one of them is empty. Does not block."""

    buckets: tuple[Bucket, ...]
