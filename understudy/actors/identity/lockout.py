"""Guessing passwords is slow: five wrong ones for an e-mail, or twenty from an address, and the door is shut a while.

Failures are counted in the database, so that a restart forgets none. What stops a burst of guesses sent at once is
that two sign-ins for one e-mail, or from one address, never run side by side: each sees what the one before it left.
"""

import ipaddress
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import attrs
import trio

from understudy.actors.errors import RateLimited
from understudy.actors.identity.ports import Lockouts
from understudy.storage.records import LockoutRule

EMAIL_RULE = LockoutRule(limit=5, window=timedelta(minutes=15), first=timedelta(minutes=15), ceiling=timedelta(hours=1))
ADDRESS_RULE = attrs.evolve(EMAIL_RULE, limit=20)
PATIENCE = 256
"""How many sign-ins for one subject may wait for their turn before the next is refused."""


class KeyedLocks:
    """A lock for each key, kept only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[str, trio.Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold the key's lock; first come, first served. Raises `RateLimited` when too many wait already."""
        lock = self._locks.setdefault(key, trio.Lock())
        if lock.statistics().tasks_waiting >= PATIENCE:
            raise RateLimited("too many sign-ins at once", retry_after=1.0)
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._locks.get(key) is lock:
                del self._locks[key]


class LoginGuard:
    """Lets sign-ins for one e-mail and from one address through one at a time, and none while either is locked."""

    def __init__(self, lockouts: Lockouts, now: Callable[[], datetime]) -> None:
        self._lockouts = lockouts
        self._now = now
        self._turns = KeyedLocks()

    @asynccontextmanager
    async def attempt(self, email: str, ip: str) -> AsyncIterator["Attempt"]:
        """One attempt to sign in: say `Attempt.failed` or `Attempt.succeeded` inside.

        Waits for the attempts before it. Raises `RateLimited` while the e-mail or the address is locked: what was
        typed is then not even looked at, and does not count.
        """
        attempt = Attempt(self._lockouts, self._now, f"email:{email}", f"ip:{network(ip)}")
        # Always the address first: two attempts that share both never wait for each other crosswise.
        async with self._turns.hold(attempt.address_subject), self._turns.hold(attempt.email_subject):
            now = self._now()
            until = await self._lockouts.locked_until(attempt.subjects, now=now)
            if until is not None:
                raise RateLimited(
                    "too many failed sign-ins; try again later", retry_after=(until - now).total_seconds()
                )
            yield attempt


def network(ip: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one IPv6 host can pick any address of."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))


@attrs.define
class Attempt:
    """An attempt to sign in that is under way."""

    _lockouts: Lockouts
    _now: Callable[[], datetime]
    email_subject: str
    address_subject: str

    @property
    def subjects(self) -> Sequence[str]:
        """What the attempt counts for."""
        return (self.email_subject, self.address_subject)

    async def failed(self) -> tuple[str, ...]:
        """Count it as a failure; the subjects that are locked now."""
        now = self._now()
        locked = []
        for subject, rule in ((self.email_subject, EMAIL_RULE), (self.address_subject, ADDRESS_RULE)):
            if await self._lockouts.fail(subject, rule, now=now) is not None:
                locked.append(subject)
        return tuple(locked)

    async def succeeded(self) -> None:
        """Forget the e-mail's failures. The address keeps its own: else one account would free all guesses from it."""
        await self._lockouts.clear(self.email_subject)
