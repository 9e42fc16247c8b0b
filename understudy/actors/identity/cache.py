"""What identity remembers between two requests with the same token."""

import attrs

from understudy.actors.identity.messages import Principal
from understudy.actors.identity.tokens import AccessClaims
from understudy.actors.lru import Lru


@attrs.frozen
class Verified:
    """An access token whose signature was found good."""

    claims: AccessClaims
    principal: Principal


@attrs.frozen
class Standing:
    """What was last known of an account: its token version, whether it may act, and when (trio's clock) it was read."""

    version: int
    enabled: bool
    read_at: float


class Standings:
    """The standing of accounts, at most *max_age* seconds old."""

    def __init__(self, size: int, max_age: float) -> None:
        self._entries: Lru[str, Standing] = Lru(size)
        self._max_age = max_age

    def __len__(self) -> int:
        return len(self._entries)

    def fresh(self, uid: str, now: float) -> Standing | None:
        """The account's standing, if it was read recently enough."""
        standing = self._entries.get(uid)
        return standing if standing is not None and now - standing.read_at <= self._max_age else None

    def observe(self, uid: str, version: int, *, enabled: bool, now: float) -> Standing:
        """Remember what was read. A version never falls: a slow read that began before a logout must not undo it."""
        known = self._entries.get(uid)
        standing = Standing(version if known is None else max(version, known.version), enabled, now)
        self._entries.put(uid, standing)
        return standing
