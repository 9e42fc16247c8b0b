"""What is old goes some at a time: no statement holds many rows, however many there are."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest

from tests.support.storage import at
from understudy.storage.pool import Pool
from understudy.storage.repositories import Repositories
from understudy.storage.repository import PRUNED_AT_ONCE

MANY = 2 * PRUNED_AT_ONCE + 300

Prune = Callable[[Repositories, datetime], Awaitable[int]]

TABLES: dict[str, tuple[str, Prune]] = {
    "outbox": (
        "INSERT INTO outbox (id, topic, payload, created_at, done_at) SELECT 'out_' || n, 't', '', %(at)s, %(at)s",
        lambda stores, before: stores.outbox.prune(before),
    ),
    "login_lockouts": (
        "INSERT INTO login_lockouts (subject, failures, window_started, last_failure)"
        " SELECT 's' || n, 1, %(at)s, %(at)s",
        lambda stores, before: stores.lockouts.sweep(before=before),
    ),
    "quota_counters": (
        "INSERT INTO quota_counters (scope, starts) SELECT 'q' || n, %(at)s",
        lambda stores, before: stores.costs.prune_counters(before),
    ),
    "idempotency_keys": (
        "INSERT INTO idempotency_keys (scope, key, request_hash, created_at, expires_at)"
        " SELECT 's', 'k' || n, '', %(at)s, %(at)s",
        lambda stores, before: stores.idempotency.sweep(now=before),
    ),
    "embeddings": (
        "INSERT INTO embeddings (embedder, digest, vector, used_at) SELECT 'e', sha256(int4send(n)), '{1}', %(at)s",
        lambda stores, before: stores.memory_index.forget(before),
    ),
}


@pytest.mark.parametrize("table", TABLES)
async def test_what_is_old_goes_some_at_a_time_and_what_is_new_stays(pool: Pool, table: str) -> None:
    insert, prune = TABLES[table]
    async with pool.connection() as connection:
        await connection.execute(b"CREATE TABLE statements (rows bigint)")
        await connection.execute(
            b"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
            b" $$ BEGIN INSERT INTO statements SELECT count(*) FROM gone; RETURN NULL; END $$"
        )
        await connection.execute(
            f"CREATE TRIGGER note AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone"
            " FOR EACH STATEMENT EXECUTE FUNCTION note()".encode()
        )
        await connection.execute(f"{insert} FROM generate_series(1, {MANY}) n".encode(), {"at": at(0)})
        await connection.execute(f"{insert} FROM generate_series({MANY + 1}, {MANY + 7}) n".encode(), {"at": at(99)})
    assert await prune(Repositories.on(pool), at(50)) == MANY
    async with pool.connection() as connection:
        (counted,) = await (
            await connection.execute(b"SELECT array_agg(rows ORDER BY rows) FROM statements")
        ).fetchall()
        assert counted[0] == [300, PRUNED_AT_ONCE, PRUNED_AT_ONCE]
        (left,) = await (await connection.execute(f"SELECT count(*) FROM {table}".encode())).fetchall()
        assert left == (7,)
