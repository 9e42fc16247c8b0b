# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Answers kept for requests that may come twice."""

from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Json

from understudy.storage.connection import Connection
from understudy.storage.errors import StoreConflict
from understudy.storage.records import Headers, IdempotencyKey, KeyClaim, StoredAnswer, new_id
from understudy.storage.repository import Repository, Row, rows

IDEMPOTENCY_TTL = timedelta(hours=24)
"""How long a key answers, unless it is said."""

_COLUMNS = "scope, key, request_hash, created_at, turn_id, status_code, body, headers"

_CLAIM = """
INSERT INTO idempotency_keys AS k
    (scope, key, request_hash, created_at, expires_at, seed, claimant, claimed_until)
VALUES (%(scope)s, %(key)s, %(hash)s, %(now)s, %(expires)s, %(seed)s, %(who)s, %(until)s)
ON CONFLICT (scope, key) DO UPDATE SET
    claimant = excluded.claimant,
    claimed_until = excluded.claimed_until,
    doubtful = k.doubtful OR k.claimant IS DISTINCT FROM excluded.claimant
WHERE k.request_hash = excluded.request_hash AND k.seed IS NOT NULL AND k.status_code IS NULL AND k.turn_id IS NULL
    AND (k.claimant IS NULL OR k.claimant = excluded.claimant OR k.claimed_until <= %(now)s)
RETURNING seed
"""


class IdempotencyRepository(Repository):
    """Keys and what they answer with. Chat turns record theirs through the journal (`TurnOpened`)."""

    async def begin(
        self,
        key: IdempotencyKey,
        *,
        now: datetime,
        ttl: timedelta = IDEMPOTENCY_TTL,
        claimant: str | None = None,
        lease: timedelta | None = None,
    ) -> StoredAnswer | KeyClaim:
        """Take the key: with a claim the caller shall do the work, then `complete` or `release`; else what is known.

        Of any number that begin one key at the same time one gets a claim; the same *claimant* gets it again. It ends
        after *lease*, or with the key. The seed is the first claim's, as long as the key lasts. An answer with neither
        a turn nor a status code is still being made. Raises `StoreConflict` (``idempotency_key``) when the key came
        with another body.
        """
        who, seed = claimant or new_id("clm"), new_id("seed")

        async def work(connection: Connection[Any]) -> Row:
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
                    _CLAIM,
                    scope=key.scope,
                    key=key.key,
                    hash=key.request_hash,
                    now=now,
                    expires=now + ttl,
                    seed=seed,
                    who=who,
                    until=now + (ttl if lease is None else lease),
                )
                if taken:
                    return taken[0]
                found = await rows(
                    connection,
                    f"SELECT {_COLUMNS} FROM idempotency_keys WHERE scope = %s AND key = %s",
                    key.scope,
                    key.key,
                )
                if found:
                    return found[0]

        row = await self._transact(work)
        if len(row) == 1:
            return KeyClaim(row[0])
        answer = _answer(row)
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

    async def release(self, key: IdempotencyKey, *, claimant: str | None = None, doubtful: bool = False) -> None:
        """Give back a key that was begun, if it is *claimant*'s (None: whoever's): the next request with it is fresh.

        When it is *doubtful* whether something was done, now or in an earlier attempt, the seed is kept for that one.
        """
        open_and_mine = (
            "WHERE scope = %(scope)s AND key = %(key)s AND request_hash = %(hash)s AND status_code IS NULL"
            " AND turn_id IS NULL AND (%(who)s::text IS NULL OR claimant = %(who)s)"
        )
        values = {"scope": key.scope, "key": key.key, "hash": key.request_hash, "who": claimant}

        async def work(connection: Connection[Any]) -> None:
            if not doubtful:
                await rows(connection, f"DELETE FROM idempotency_keys {open_and_mine} AND NOT doubtful", **values)
            freed = "claimant = NULL, claimed_until = NULL, doubtful = true"
            await rows(connection, f"UPDATE idempotency_keys SET {freed} {open_and_mine}", **values)

        await self._transact(work)

    async def sweep(self, *, now: datetime) -> int:
        """Delete the expired ones, but those of turns that run; how many."""
        return await self._prune(
            "idempotency_keys",
            "expires_at <= %s AND NOT EXISTS"
            " (SELECT FROM turns t WHERE t.id = idempotency_keys.turn_id AND t.status = 'running')",
            now,
        )


def _answer(row: Row) -> StoredAnswer:
    headers = tuple((name, value) for name, value in row[7] or ())
    created_at, turn_id, status_code, body = row[3:7]
    return StoredAnswer(IdempotencyKey(*row[:3]), created_at, turn_id, status_code, body, headers)
