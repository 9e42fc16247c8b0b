# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Answers kept for requests that may come twice."""

from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Json

from understudy.storage.connection import Connection
from understudy.storage.errors import StoreConflict
from understudy.storage.records import Headers, IdempotencyKey, StoredAnswer
from understudy.storage.repository import Repository, Row, rows

IDEMPOTENCY_TTL = timedelta(hours=24)
"""How long a key answers, unless it is said."""

_COLUMNS = "scope, key, request_hash, created_at, turn_id, status_code, body, headers"


class IdempotencyRepository(Repository):
    """Keys and what they answer with. Chat turns record theirs through the journal (`TurnOpened`)."""

    async def begin(
        self, key: IdempotencyKey, *, now: datetime, ttl: timedelta = IDEMPOTENCY_TTL
    ) -> StoredAnswer | None:
        """Take the key: None means the caller shall do the work, then `complete` or `release`; else what is known.

        Of any number that begin one key at the same time one gets None. An answer with neither a turn nor a status
        code is still being made. Raises `StoreConflict` (``idempotency_key``) when the key came with another body.
        """
        attempts = 0

        async def work(connection: Connection[Any]) -> Row | None:
            nonlocal attempts
            attempts += 1
            while True:
                await rows(
                    connection,
                    "DELETE FROM idempotency_keys WHERE scope = %s AND key = %s AND expires_at <= %s",
                    key.scope,
                    key.key,
                    now,
                )
                taken = await rows(
                    connection,
                    "INSERT INTO idempotency_keys (scope, key, request_hash, created_at, expires_at)"
                    " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING key",
                    key.scope,
                    key.key,
                    key.request_hash,
                    now,
                    now + ttl,
                )
                if taken:
                    return None
                found = await rows(
                    connection,
                    f"SELECT {_COLUMNS} FROM idempotency_keys WHERE scope = %s AND key = %s",
                    key.scope,
                    key.key,
                )
                if found:
                    return found[0]

        row = await self._transact(work)
        if row is None:
            return None
        answer = _answer(row)
        if attempts > 1 and answer == StoredAnswer(key, now):
            return None  # taken by our own first attempt, whose answer was lost
        if answer.key.request_hash != key.request_hash:
            raise StoreConflict("idempotency_key")
        return answer

    async def find(self, scope: str, key: str, *, now: datetime) -> StoredAnswer | None:
        """What an unexpired key answers with."""
        row = await self._row(
            f"SELECT {_COLUMNS} FROM idempotency_keys WHERE scope = %s AND key = %s AND expires_at > %s",
            scope,
            key,
            now,
        )
        return _answer(row) if row else None

    async def complete(self, key: IdempotencyKey, *, status_code: int, body: bytes, headers: Headers = ()) -> None:
        """Keep the answer for whoever comes with the key until it expires."""
        await self._count(
            "UPDATE idempotency_keys SET status_code = %s, body = %s, headers = %s WHERE scope = %s AND key = %s"
            " AND request_hash = %s",
            status_code,
            body,
            Json(headers),
            key.scope,
            key.key,
            key.request_hash,
        )

    async def release(self, key: IdempotencyKey) -> None:
        """Give back a key that was begun and came to nothing: the next request with it is fresh."""
        await self._count(
            "DELETE FROM idempotency_keys WHERE scope = %s AND key = %s AND request_hash = %s"
            " AND status_code IS NULL AND turn_id IS NULL",
            key.scope,
            key.key,
            key.request_hash,
        )

    async def sweep(self, *, now: datetime) -> int:
        """Delete the expired ones, but those of turns that run; how many."""
        return await self._count(
            "DELETE FROM idempotency_keys k WHERE expires_at <= %s"
            " AND NOT EXISTS (SELECT FROM turns t WHERE t.id = k.turn_id AND t.status = 'running')",
            now,
        )


def _answer(row: Row) -> StoredAnswer:
    headers = tuple((name, value) for name, value in row[7] or ())
    created_at, turn_id, status_code, body = row[3:7]
    return StoredAnswer(IdempotencyKey(*row[:3]), created_at, turn_id, status_code, body, headers)
