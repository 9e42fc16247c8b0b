"""Published facts on their way to whoever wants them: written with the change they tell of, delivered at least once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from understudy.storage.connection import Connection
from understudy.storage.entries import Published
from understudy.storage.listening import listening
from understudy.storage.records import OutboxItem
from understudy.storage.repository import Repository

CHANNEL = "understudy_outbox"


async def publish(connection: Connection[Any], *facts: Published) -> None:
    """Put *facts* into the outbox within the transaction that *connection* is in; known ids are left alone.

    For repositories whose writes do not go through the journal.
    """
    for fact in facts:
        await connection.execute(
            b"INSERT INTO outbox (id, topic, workspace_id, payload, created_at) VALUES (%s, %s, %s, %s, %s)"
            b" ON CONFLICT (id) DO NOTHING",
            (fact.id, fact.topic, fact.workspace_id, fact.payload, fact.created_at),
        )
    if facts:
        await connection.execute(f"NOTIFY {CHANNEL}".encode(), prepare=False)


class OutboxRepository(Repository):
    """The outbox, oldest first. Any number of claimers share it without meeting."""

    async def claim(self, limit: int, *, now: datetime, lease: timedelta) -> tuple[OutboxItem, ...]:
        """Take at most *limit* items; whoever has not called `done` when the lease ends has lost them to the next.

        From its second claim on an item's lease doubles, to 120 times *lease*: what nobody can digest comes ever less
        often, and is never thrown away.
        """
        found = await self._rows(
            "UPDATE outbox SET claimed_until = %s + %s * least(power(2, least(attempts, 7)), 120),"
            " attempts = attempts + 1 WHERE id IN ("
            " SELECT id FROM outbox WHERE done_at IS NULL AND (claimed_until IS NULL OR claimed_until <= %s)"
            " ORDER BY created_at, id LIMIT %s FOR UPDATE SKIP LOCKED)"
            " RETURNING id, topic, workspace_id, payload, created_at, attempts",
            now,
            lease,
            now,
            limit,
        )
        return tuple(sorted((OutboxItem(*row) for row in found), key=lambda item: (item.created_at, item.id)))

    async def done(self, ids: Sequence[str], *, now: datetime) -> int:
        """Mark items as delivered; how many were not yet."""
        return await self._count(
            "UPDATE outbox SET done_at = %s WHERE id = ANY (%s) AND done_at IS NULL", now, list(ids)
        )

    async def prune(self, before: datetime) -> int:
        """Delete items delivered before *before*; how many."""
        return await self._prune("outbox", "done_at < %s", before)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Callable[[float], Awaitable[bool]]]:
        """A function that waits, at most so many seconds, for a hint that something was published; whether one came.

        Holds a connection meanwhile. A hint can be missed while there is none: look now and then anyway. It and this
        raise `StoreUnavailable` when the server goes away.
        """
        async with listening(self._pool, CHANNEL) as hint:

            async def wait(seconds: float) -> bool:
                return bool(await hint(seconds))

            yield wait
