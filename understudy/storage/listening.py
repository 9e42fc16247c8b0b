"""Hints from other connections to the same database: LISTEN, on a connection of one's own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import psycopg

from understudy.storage.errors import StoreUnavailable
from understudy.storage.pool import Pool

_PATIENCE = 5.0
"""Seconds for a server that said nothing for long to show that it is there."""


@asynccontextmanager
async def listening(pool: Pool, channel: str) -> AsyncIterator[Callable[[float], Awaitable[tuple[str, ...]]]]:
    """A function that waits, at most so many seconds, for hints on *channel*: what they say, in order.

    Holds a connection of *pool* meanwhile. A hint can be missed while there is none: nothing may depend on it alone.
    It and this raise `StoreUnavailable` when the server goes away, or does not answer either when it has been silent
    for so many seconds: what lies between may have forgotten a connection on which nothing was said, and tells nobody.
    """
    async with pool.connection() as connection:

        async def wait(seconds: float) -> tuple[str, ...]:
            try:
                # It stops after the packet with the first one, which may hold others.
                async with aclosing(connection.notifies(timeout=seconds, stop_after=1)) as hints:
                    heard = tuple([hint.payload async for hint in hints])
            except psycopg.OperationalError as error:
                raise StoreUnavailable(f"the database went away: {error}") from error
            if not heard and not await connection.answers(min(seconds, _PATIENCE)):
                raise StoreUnavailable("the database does not answer")
            return heard

        try:
            await connection.execute(f"LISTEN {channel}".encode(), prepare=False)
            yield wait
        except psycopg.OperationalError as error:
            raise StoreUnavailable(f"the database went away: {error}") from error
        finally:
            # Closed rather than given back: the next user would be sent our hints.
            await connection.close()
