"""Connections on loan: bounded, fair, checked after trouble, and never lost."""

import random
from collections.abc import AsyncIterator
from math import inf
from pathlib import Path

import psycopg
import pytest
import trio
import trio.testing

from understudy.storage.connection import Connection
from understudy.storage.embedded import EmbeddedPostgres
from understudy.storage.errors import StoreUnavailable
from understudy.storage.pool import Pool


@pytest.fixture
async def small(pg_dsn: str) -> AsyncIterator[Pool]:
    """An open pool of at most two connections."""
    pool = Pool(pg_dsn, min_size=0, max_size=2, timeout=5.0, rng=random.Random(1))
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


async def backend(pool: Pool) -> int:
    async with pool.connection() as connection:
        return connection.info.backend_pid


async def kill_backends(dsn: str) -> None:
    """Terminate every other connection to the database."""
    async with await Connection.connect(dsn, autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_a_connection_is_used_again(small: Pool) -> None:
    assert await backend(small) == await backend(small)
    assert small.statistics().size == 1


async def test_no_more_connections_than_the_limit_and_waiters_are_served_in_order(pg_dsn: str) -> None:
    pool = Pool(pg_dsn, min_size=0, max_size=1)
    await pool.open()
    served: list[int] = []

    async def use(number: int) -> None:
        async with pool.connection():
            served.append(number)
            await trio.lowlevel.checkpoint()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, pool.connection():
            for number in range(10):
                nursery.start_soon(use, number)
                await trio.testing.wait_all_tasks_blocked()
            assert (pool.statistics().waiting, pool.statistics().size, served) == (10, 1, [])
    assert served == list(range(10))
    assert (pool.statistics().size, pool.statistics().idle) == (1, 1)
    await pool.close()


async def test_whoever_waits_too_long_is_told_that_the_store_is_unavailable(small: Pool) -> None:
    with trio.fail_after(30):
        async with small.connection(), small.connection():
            began = trio.current_time()
            with pytest.raises(StoreUnavailable, match="busy"):
                async with small.connection(timeout=0.1):
                    pass
            assert trio.current_time() - began < 4


async def test_connections_that_the_server_dropped_are_replaced_before_anybody_gets_them(
    small: Pool, pg_dsn: str
) -> None:
    with trio.fail_after(20):
        async with small.connection() as one, small.connection():
            await kill_backends(pg_dsn)
            with pytest.raises(psycopg.OperationalError):
                await one.execute("SELECT 1")
        # The one that was used is known to be lost; that makes the pool ask the other before it lends it.
        for _ in range(4):
            async with small.connection() as connection:
                await connection.execute("SELECT 1")
        assert small.statistics().size <= 2


async def test_a_connection_past_its_lifetime_is_replaced(pg_dsn: str) -> None:
    pool = Pool(pg_dsn, min_size=0, max_size=2, max_lifetime=0.0)
    await pool.open()
    assert await backend(pool) != await backend(pool)
    await pool.close()


async def test_tending_keeps_the_minimum_ready_and_retires_the_old(pg_dsn: str) -> None:
    pool = Pool(pg_dsn, min_size=2, max_size=4, max_lifetime=0.3)
    await pool.open()
    await pool.tend()
    assert (pool.statistics().size, pool.statistics().idle) == (2, 2)
    made = pool.statistics().made
    with trio.fail_after(30):
        while pool.statistics().made == made:
            await trio.sleep(0.05)
            await pool.tend()
    await pool.close()
    assert pool.statistics().size == 0


async def test_a_closed_pool_makes_callers_wait_until_it_is_opened_again(small: Pool) -> None:
    with trio.fail_after(30):
        await backend(small)
        await small.close()
        assert small.statistics().size == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend, small)
            await trio.testing.wait_all_tasks_blocked()
            assert small.statistics().waiting == 1
            await small.open()
        await small.close()
        with pytest.raises(StoreUnavailable, match="not started"):
            async with small.connection(timeout=0.05):
                pass


async def test_a_connection_in_use_when_the_pool_closes_is_closed_when_given_back(small: Pool) -> None:
    async with small.connection() as connection:
        await small.close()
        await connection.execute("SELECT 1")
    assert connection.closed
    assert small.statistics().size == 0


async def test_a_connection_given_back_in_a_transaction_is_cleaned_or_closed(small: Pool) -> None:
    async with small.connection() as connection:
        await connection.execute("BEGIN")
        await connection.execute("CREATE TABLE t (n int)")
    async with small.connection() as connection:
        cursor = await connection.execute("SELECT to_regclass('t')")
        assert await cursor.fetchone() == (None,)


@pytest.mark.parametrize("seed", range(6))
async def test_no_connection_is_lost_wherever_its_user_is_cancelled(pg_dsn: str, seed: int) -> None:
    rng = random.Random(seed)
    pool = Pool(pg_dsn, min_size=0, max_size=3, timeout=5.0, rng=random.Random(seed))
    await pool.open()
    finished = 0

    async def use() -> None:
        nonlocal finished
        # Some are cancelled nowhere, however slow the machine is.
        with trio.move_on_after(rng.uniform(0, 0.03) if rng.random() < 0.8 else inf):
            async with pool.connection() as connection:
                async with connection.transaction():
                    await connection.execute("SELECT pg_sleep(%s)", (rng.uniform(0, 0.01),))
                if rng.random() < 0.1:
                    await connection.close()
                if rng.random() < 0.1:
                    raise ZeroDivisionError
            finished += 1

    async def use_again() -> None:
        for _ in range(12):
            try:
                await use()
            except (ZeroDivisionError, psycopg.OperationalError):
                continue

    with trio.fail_after(110):
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(use_again)
        statistics = pool.statistics()
        assert (statistics.size, statistics.waiting) == (statistics.idle, 0)
        assert statistics.size <= 3
        # All of them can still be had at once.
        async with pool.connection(), pool.connection(), pool.connection():
            pass
        await pool.close()
    assert finished
    assert pool.statistics().size == 0


async def test_users_wait_for_a_server_that_comes_back_and_give_up_on_one_that_does_not(data_dir: Path) -> None:
    with trio.fail_after(110):
        async with EmbeddedPostgres(data_dir) as server:
            pool = Pool(server.conninfo, min_size=0, max_size=4, timeout=5.0)
            await pool.open()
            await backend(pool)
            await server.stop()
            with pytest.raises(StoreUnavailable, match="away"):
                async with pool.connection(timeout=0.3):
                    pass
            with pytest.raises(StoreUnavailable):
                await pool.ping(timeout=0.3)
            got: list[int] = []

            async def use() -> None:
                got.append(await backend(pool))

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(use)
                await trio.testing.wait_all_tasks_blocked()
                await server.start()
            assert len(got) == 20
            assert await pool.ping() < 5
            await pool.close()


async def test_a_pool_needs_sensible_limits() -> None:
    with pytest.raises(ValueError, match="min_size"):
        Pool("", min_size=3, max_size=2)
    with pytest.raises(ValueError, match="min_size"):
        Pool("", min_size=0, max_size=0)
