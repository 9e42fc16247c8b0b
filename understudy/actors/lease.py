"""Work that is done while a lease is held: renewed beside the work, which is cancelled once the lease is lost."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Protocol

import trio

from understudy.storage.errors import StoreUnavailable

BEATS = 3
"""How often a lease is renewed while it lasts: so many times may the database fail to answer."""


class Leases(Protocol):
    """What is claimed for a time: `understudy.storage.leases.LeaseRepository`. May raise `StoreUnavailable`."""

    async def renew(self, claims: Mapping[str, int], until: datetime) -> Collection[str]:
        """Keep what was claimed (tokens by id) until then, which gives it back if that is now; what still counts."""
        ...


@asynccontextmanager
async def held(
    leases: Leases, claims: Mapping[str, int], lasting: timedelta, now: Callable[[], datetime]
) -> AsyncIterator[None]:
    """Hold what was just claimed for *lasting*, until the block ends.

    The block is cancelled, and left without an exception, when some of it turns out to be somebody else's, and when it
    may be: when the lease ends while the database is away. What the block raises comes in an exception group.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_renew, leases, claims, lasting, now, nursery.cancel_scope)
        yield
        nursery.cancel_scope.cancel()


async def _renew(
    leases: Leases,
    claims: Mapping[str, int],
    lasting: timedelta,
    now: Callable[[], datetime],
    scope: trio.CancelScope,
) -> None:
    seconds = lasting.total_seconds()
    held_until = trio.current_time() + seconds
    while True:
        await trio.sleep(seconds / BEATS)
        began = trio.current_time()
        count: bool | None = None  # nobody knows: while the lease lasts there is another beat
        with trio.move_on_at(held_until), suppress(StoreUnavailable):
            count = len(await leases.renew(claims, now() + lasting)) == len(claims)
        if count:
            held_until = began + seconds
        elif count is False or trio.current_time() >= held_until:
            scope.cancel()
            return
