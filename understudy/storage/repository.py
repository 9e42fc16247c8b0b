"""What repositories share: borrowing a connection, waiting for an absent server, and translating psycopg's errors.

The one place that knows which of psycopg's errors mean "the server is away" and which mean "this value is wrong".
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
import trio
from psycopg import errors as e

from understudy.backoff import Backoff
from understudy.storage.connection import Connection
from understudy.storage.errors import StoreConflict, StoreUnavailable, Unstorable
from understudy.storage.pool import Pool
from understudy.storage.rowsecurity import Tenant, act_for

PRUNED_AT_ONCE = 1000
"""Rows that one statement deletes at most, where nobody waits for the end of it."""

T = TypeVar("T")
Row = tuple[Any, ...]

_RETRIES = Backoff(base=0.02, limit=0.64, jitter=0.5)

_CONFLICTS = {
    "users_pkey": "user id",
    "users_email": "email",
    "workspaces_pkey": "workspace id",
    "refresh_tokens_pkey": "token id",
    "refresh_tokens_hash": "token",
    "diagnostic_runs_pkey": "run id",
    "agent_configs_own": "agent id",
    "agent_configs_global": "agent id",
    "internal_keys_name": "key name",
    "sessions_active_key": "conversation",
    "memory_profiles_name": "memory profile name",
}


def is_connection_lost(error: psycopg.Error) -> bool:
    """Whether the server, or the way to it, is gone: what was asked may or may not have happened."""
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
    )


def is_transient(error: psycopg.Error) -> bool:
    """Whether it may succeed at once when tried again: it was rolled back only because of its neighbours."""
    return isinstance(error, e.SerializationFailure | e.DeadlockDetected)


async def pause_before_retry(pool: Pool, attempt: int, deadline: float) -> None:
    """A pause that grows with each attempt; over at the deadline."""
    await trio.sleep(max(0.0, min(_RETRIES.delay(attempt, pool.rng), deadline - trio.current_time())))


def is_value_error(error: psycopg.Error) -> bool:
    """Whether the values are at fault: wrong in themselves, against a rule of the schema, or too big."""
    return isinstance(error, psycopg.DataError | psycopg.IntegrityError) or (error.sqlstate or "").startswith("54")


def translate(error: psycopg.Error) -> Exception:
    """What the error is for callers, who know nothing of psycopg; a mistake of ours (bad SQL) stays what it is."""
    said = str(error).partition("\n")[0]
    if isinstance(error, e.UniqueViolation):
        return StoreConflict(_CONFLICTS.get(error.diag.constraint_name or "", error.diag.constraint_name or "a value"))
    if is_value_error(error):
        return Unstorable(said)
    if isinstance(error, psycopg.OperationalError | e.ReadOnlySqlTransaction):
        return StoreUnavailable(f"the database failed: {said}")
    return error


class Repository:
    """Base of the repositories: queries on *pool*, bounded by its timeout, repeated when the server went away.

    Everything built on it may therefore run twice: reads because they may, writes because each is written so that
    its second run does nothing.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def _run(self, work: Callable[[Connection[Any]], Awaitable[T]], *, tenant: Tenant | None = None) -> T:
        """Do *work* with a connection, again on another one when the server went away meanwhile.

        For a *tenant* it is done in a transaction that PostgreSQL limits to that tenant's rows: a round trip more, and
        no forgotten condition lets others' rows out.

        Raises `StoreUnavailable`, `StoreConflict`, `Unstorable`.
        """
        deadline = trio.current_time() + self._pool.timeout
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._pool.connection(max(0.0, deadline - trio.current_time())) as connection:
                    if tenant is None or not await self._pool.guarded(connection):
                        return await work(connection)
                    async with connection.transaction():
                        await act_for(connection, tenant)
                        return await work(connection)
            except psycopg.Error as error:
                if not (is_connection_lost(error) or is_transient(error)) or trio.current_time() >= deadline:
                    raise translate(error) from error
            await pause_before_retry(self._pool, attempt, deadline)

    async def _transact(self, work: Callable[[Connection[Any]], Awaitable[T]]) -> T:
        """`_run` with *work* in one transaction."""

        async def in_transaction(connection: Connection[Any]) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self._run(in_transaction)

    async def _rows(self, query: str, *arguments: object, tenant: Tenant | None = None, **named: object) -> list[Row]:
        """All rows of one statement, a transaction of its own; with *tenant* as `_run`."""

        async def work(connection: Connection[Any]) -> list[Row]:
            return await rows(connection, query, *arguments, **named)

        return await self._run(work, tenant=tenant)

    async def _row(self, query: str, *arguments: object, tenant: Tenant | None = None, **named: object) -> Row | None:
        """The first row of one statement, if any; with *tenant* as `_run`."""
        found = await self._rows(query, *arguments, tenant=tenant, **named)
        return found[0] if found else None

    async def _count(self, query: str, *arguments: object, **named: object) -> int:
        """How many rows one statement changed."""

        async def work(connection: Connection[Any]) -> int:
            return (await connection.execute(query.encode(), named or arguments)).rowcount

        return await self._run(work)

    async def _prune(self, table: str, condition: str, *arguments: object, **named: object) -> int:
        """Delete the rows of *table* that meet *condition*, some at a time; how many.

        Each statement is a transaction of its own, so that however much there is, nobody waits long for a lock and no
        replica falls behind. Rows that somebody changes meanwhile are left for the next time.
        """
        gone = 0
        while True:
            some = await self._count(
                f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("  # noqa: S608  # constants of repositories
                f"SELECT ctid FROM {table} WHERE {condition} LIMIT {PRUNED_AT_ONCE}))",
                *arguments,
                **named,
            )
            gone += some
            if some < PRUNED_AT_ONCE:
                return gone


async def rows(connection: Connection[Any], query: str, *arguments: object, **named: object) -> list[Row]:
    """All rows of one statement on *connection*; none for a statement that returns none."""
    parameters: Sequence[object] | Mapping[str, object] = named or arguments
    cursor = await connection.execute(query.encode(), parameters)
    return await cursor.fetchall() if cursor.description is not None else []
