"""The hot path's writes: many groups in one transaction, each applied whole or not at all.

There is one statement (``journal_write``), sent once: its commit is the transaction's. When the connection is lost
before its answer came, whether it was committed is not known, and it is simply sent again: entries are idempotent.
"""

from collections.abc import Sequence

import psycopg
import trio

from understudy.storage.batch import Batch
from understudy.storage.entries import Entry
from understudy.storage.errors import Fenced, QuotaExceeded, StorageError, StoreConflict, StoreUnavailable, Unstorable
from understudy.storage.pool import Pool
from understudy.storage.repository import (
    is_connection_lost,
    is_transient,
    is_value_error,
    pause_before_retry,
    translate,
)

_WRITE = b"SELECT fenced, taken, over, which FROM journal_write($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"


class Journal:
    """Writes groups of entries through *pool*, giving PostgreSQL *timeout* seconds to be there.

    Holds no state of its own: any number of tasks may write at once, but it is one that should, with what all the
    others want written (group commit; see `understudy.actors.store.journal`).
    """

    def __init__(self, pool: Pool, *, timeout: float = 5.0) -> None:
        self._pool = pool
        self._timeout = timeout

    async def write(
        self, groups: Sequence[Sequence[Entry]], *, timeout: float | None = None
    ) -> tuple[StorageError | None, ...]:
        """Commit *groups*; what became of each, in order: None if it was committed, else why not.

        That is `Fenced`, `StoreConflict`, `QuotaExceeded` or `Unstorable`.
        Cancelled means: all are written or none is, and which is not known. Groups may be written again.

        Raises:
            StoreUnavailable: the database did not take them in time; likewise not known, likewise repeatable.
        """
        deadline = trio.current_time() + (self._timeout if timeout is None else timeout)
        wrong: Exception
        try:
            return await self._send(len(groups), Batch(groups).arguments(), deadline)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            wrong = error
        except psycopg.Error as error:
            if not is_value_error(error):
                raise translate(error) from error
            wrong = error
        if len(groups) == 1:
            return (Unstorable(_first_line(wrong)),)
        # One group's values took the whole transaction with them: find whose they were, by halves.
        half = len(groups) // 2
        first = await self.write(groups[:half], timeout=max(0.0, deadline - trio.current_time()))
        return first + await self.write(groups[half:], timeout=max(0.0, deadline - trio.current_time()))

    async def _send(
        self, size: int, arguments: tuple[bytes | None, ...], deadline: float
    ) -> tuple[StorageError | None, ...]:
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._pool.connection(max(0.0, deadline - trio.current_time())) as connection:
                    result = await connection.call(_WRITE, *arguments)
            except psycopg.Error as error:
                if not (is_connection_lost(error) or is_transient(error)):
                    raise
                if trio.current_time() >= deadline:
                    raise StoreUnavailable(f"the database went away: {_first_line(error)}") from error
                await pause_before_retry(self._pool, attempt, deadline)
                continue
            outcomes: list[StorageError | None] = [None] * size
            for number in _numbers(result.get_value(0, 0)):
                outcomes[number] = Fenced("a newer incarnation owns the session")
            for number in _numbers(result.get_value(0, 1)):
                outcomes[number] = StoreConflict("idempotency_key")
            for number, which in zip(_numbers(result.get_value(0, 2)), _numbers(result.get_value(0, 3)), strict=True):
                outcomes[number] = QuotaExceeded(which)
            return tuple(outcomes)


def _numbers(array: bytes | None) -> list[int]:
    """PostgreSQL's text of an integer array, ``{1,2}`` or NULL."""
    return [int(number) for number in array[1:-1].split(b",") if number] if array else []


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
