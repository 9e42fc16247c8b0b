"""Looking at the server itself: for the health report, the diagnostics and the metrics."""

from datetime import datetime
from typing import Any

from understudy.storage.backlog import Backlogs
from understudy.storage.connection import Connection
from understudy.storage.migrate import load_migrations


class _TakenBack(Exception):
    """Ends the probe's transaction, so that what it wrote never was."""


class Probe(Backlogs):
    """Small questions to the database. Each raises `StoreUnavailable` when it is away."""

    async def ping(self, timeout: float = 2.0) -> float:
        """Whether the server answers; the seconds it took. Gives up after *timeout* seconds."""
        return await self._pool.ping(timeout)

    async def version(self) -> str:
        """The server's name and version, such as ``PostgreSQL 18.0``."""
        found = await self._row("SELECT current_setting('server_version')")
        return "PostgreSQL" if found is None else f"PostgreSQL {str(found[0]).split()[0]}"

    async def clock(self) -> datetime:
        """The server's wall clock."""
        now: datetime
        ((now,),) = await self._rows("SELECT clock_timestamp()")
        return now

    async def write(self) -> None:
        """Write a row for good as far as the server can tell, and take it back: fails on a standby and a full disk."""

        async def work(connection: Connection[Any]) -> None:
            async with connection.transaction():
                await connection.execute(
                    b"INSERT INTO idempotency_keys (scope, key, request_hash, created_at, expires_at)"
                    b" VALUES ('understudy.probe', 'write', ''::bytea, now(), now()) ON CONFLICT DO NOTHING"
                )
                raise _TakenBack

        try:
            await self._run(work)
        except _TakenBack:
            return

    async def search(self) -> None:
        """Put a question to full-text search."""
        await self._rows("SELECT to_tsvector('simple', 'the node is well') @@ plainto_tsquery('simple', 'node')")

    async def vectors(self) -> str | None:
        """The version of pgvector in this database; None when it is not there."""
        found = await self._row("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        return None if found is None else str(found[0])

    async def migrations(self) -> tuple[int, int]:
        """The number of the newest migration applied, and of the newest this version has."""
        ((applied,),) = await self._rows("SELECT coalesce(max(version), 0) FROM schema_migrations")
        known = load_migrations()
        return int(applied), known[-1].version if known else 0

    async def totals(self) -> tuple[int, int, int]:
        """How many sessions are active, how many there are, and how many messages they hold."""
        ((active, sessions, messages),) = await self._rows(
            "SELECT count(*) FILTER (WHERE status = 'active'), count(*), coalesce(sum(message_count), 0) FROM sessions"
        )
        return int(active), int(sessions), int(messages)

    async def late_deliveries(self, now: datetime) -> tuple[int, float]:
        """How many deliveries of webhooks are due and not taken, and for how many seconds the one that is longest."""
        ((due, first),) = await self._rows(
            "SELECT count(*), min(next_attempt_at) FROM webhook_deliveries WHERE next_attempt_at <= %s", now
        )
        return int(due), (now - first).total_seconds() if first is not None else 0.0

    async def billed(self, since: datetime) -> int:
        """What all workspaces have spent since then, in micro-dollars."""
        ((spent,),) = await self._rows("SELECT coalesce(sum(cost), 0)::bigint FROM billing_usage WHERE at >= %s", since)
        return int(spent)
