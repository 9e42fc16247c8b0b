"""The servers that share the database: each is there while its lease lasts, and can be called by the others."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from understudy.storage.listening import listening
from understudy.storage.repository import Repository

CHANNEL = "understudy_nodes"
"""What the function ``session_claim`` calls on, too (see migrations/0026_nodes.sql)."""

FORGOTTEN = timedelta(days=1)
"""How long a node that is gone is still listed, for whoever wants to know what was there."""


class NodeRepository(Repository):
    """Leases are by the database's own clock: how far the nodes' are apart does not matter."""

    async def renew(self, node: str, lease: timedelta) -> None:
        """*node* is there for so long from now on, also when its lease had run out."""
        await self._rows(
            "WITH gone AS (DELETE FROM nodes WHERE leased_until < clock_timestamp() - %s)"
            " INSERT INTO nodes (id, lease, leased_until) VALUES (%s, %s, clock_timestamp() + %s)"
            " ON CONFLICT (id) DO UPDATE SET lease = excluded.lease, leased_until = excluded.leased_until",
            FORGOTTEN,
            node,
            lease,
            lease,
        )

    async def leave(self, node: str) -> None:
        """*node* is gone: what it left is anybody's, at once."""
        await self._rows("DELETE FROM nodes WHERE id = %s", node)

    async def call(self, said: str) -> None:
        """Say something to all nodes that listen just now, this one too. Nothing tells whether anybody heard it."""
        await self._rows("SELECT pg_notify(%s, %s)", CHANNEL, said)

    def listening(self) -> AbstractAsyncContextManager[Callable[[float], Awaitable[tuple[str, ...]]]]:
        """A function that waits, at most so many seconds, for what is called; see `storage.listening`."""
        return listening(self._pool, CHANNEL)
