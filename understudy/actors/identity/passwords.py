"""Password hashes: argon2id, in worker threads, a few at a time.

A hash costs about 30 ms of a core and 19 MiB on purpose. It is made in a thread, so that the loop runs on, and only
``concurrency`` at once, so that a burst of logins cannot take the machine; who would have to wait behind too many
others is refused instead.
"""

import unicodedata
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import argon2
import trio
from argon2.exceptions import InvalidHashError, VerificationError

from understudy.actors.errors import RateLimited

T = TypeVar("T")
Args = TypeVarTuple("Args")

DEFAULT_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""The parameters that new hashes get: OWASP's first recommendation for argon2id. Immutable."""


class Passwords:
    """Makes and checks password hashes.

    Args:
        hasher: the parameters for new hashes; older hashes still verify, and `outdated` tells them.
        concurrency: how many threads may hash at once.
        queue: how many callers may wait for a thread before the next is refused with `RateLimited`.
    """

    def __init__(
        self, *, hasher: argon2.PasswordHasher = DEFAULT_HASHER, concurrency: int = 2, queue: int = 256
    ) -> None:
        self._hasher = hasher
        self._limiter = trio.CapacityLimiter(concurrency)
        self._queue = queue
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to store. Takes ~30 ms in a thread; cancelled, the thread finishes and its result is dropped."""
        return await self._in_thread(self._hasher.hash, _material(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether *password* is the one behind *stored*; with None a decoy is checked, which takes the same time.

        A stored value that is no argon2 hash counts as wrong.
        """
        if self._decoy is None:
            self._decoy = await self.hash("a password that nobody has")
        matches = await self._in_thread(self._matches, self._decoy if stored is None else stored, _material(password))
        return matches and stored is not None

    def outdated(self, stored: str) -> bool:
        """Whether *stored* was made with other parameters than the present ones and should be made anew."""
        return self._hasher.check_needs_rehash(stored)

    def _matches(self, stored: str, material: bytes) -> bool:
        try:
            return self._hasher.verify(stored, material)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, fn: Callable[[*Args], T], *args: *Args) -> T:
        if self._limiter.statistics().tasks_waiting >= self._queue:
            raise RateLimited("too many sign-ins at the moment", retry_after=1.0)
        # A hash cannot be interrupted; abandoned, its thread keeps its place in the limiter until it is done.
        return await trio.to_thread.run_sync(fn, *args, limiter=self._limiter, abandon_on_cancel=True)


def _material(password: str) -> bytes:
    """What is hashed: NFKC, so that the same characters typed on two keyboards are the same password (NIST 800-63B)."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
