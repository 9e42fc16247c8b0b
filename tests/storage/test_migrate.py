"""The schema: brought up to date once, by one process, and never from files that changed."""

from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import trio

from tests.support.database import TestServer
from understudy.storage.connection import Connection
from understudy.storage.errors import MigrationError
from understudy.storage.migrate import Migration, load_migrations, migrate, pending


@pytest.fixture
async def empty(pg_server: TestServer) -> AsyncIterator[str]:
    """The DSN of a database with nothing in it."""
    with pg_server.database(migrated=False) as dsn:
        yield dsn


async def connect(dsn: str) -> Connection[Any]:
    return await Connection.connect(dsn, autocommit=True)


ONE = Migration(1, "0001_one", "CREATE TABLE one (n int); INSERT INTO one VALUES (1);")
TWO = Migration(2, "0002_two", "CREATE TABLE two (n int);")


async def test_the_shipped_migrations_apply_to_an_empty_database_and_then_nothing_is_pending(empty: str) -> None:
    told: list[str] = []
    async with await connect(empty) as connection:
        names = tuple(step.name for step in load_migrations())
        assert await pending(connection) == names
        assert await migrate(connection, progress=told.append) == names
        assert told == [f"applying migration {name}" for name in names]
        assert await pending(connection) == ()
        assert await migrate(connection, progress=told.append) == ()


async def test_only_what_is_missing_is_applied(empty: str) -> None:
    async with await connect(empty) as connection:
        assert await migrate(connection, [ONE]) == ("0001_one",)
        assert await migrate(connection, [ONE, TWO]) == ("0002_two",)


async def test_a_migration_edited_after_it_ran_is_refused(empty: str) -> None:
    async with await connect(empty) as connection:
        await migrate(connection, [ONE])
        with pytest.raises(MigrationError, match="0001_one was edited"):
            await migrate(connection, [attrs.evolve(ONE, sql=ONE.sql + " "), TWO])


async def test_a_database_of_a_newer_version_is_refused(empty: str) -> None:
    async with await connect(empty) as connection:
        await migrate(connection, [ONE, TWO])
        with pytest.raises(MigrationError, match="0002_two, which this version"):
            await migrate(connection, [ONE])


async def test_on_a_migrated_database_a_login_that_may_make_nothing_finds_nothing_to_do(empty: str) -> None:
    async with await connect(empty) as connection:
        assert await migrate(connection, [ONE]) == ("0001_one",)
        await connection.execute("CREATE ROLE may_only_read NOLOGIN")
        try:
            await connection.execute("GRANT SELECT ON schema_migrations TO may_only_read; SET ROLE may_only_read")
            assert await migrate(connection, [ONE]) == ()
        finally:
            await connection.execute("RESET ROLE; DROP OWNED BY may_only_read; DROP ROLE may_only_read")


async def test_a_migration_that_fails_leaves_nothing_and_names_itself(empty: str) -> None:
    bad = Migration(2, "0002_bad", "CREATE TABLE half (n int); SELECT 1/0;")
    async with await connect(empty) as connection:
        with pytest.raises(MigrationError, match="0002_bad failed: division by zero"):
            await migrate(connection, [ONE, bad])
        cursor = await connection.execute("SELECT to_regclass('one')::text, to_regclass('half')::text")
        assert await cursor.fetchone() == ("one", None)
        assert await migrate(connection, [ONE, TWO]) == ("0002_two",)


async def test_of_many_processes_that_start_at_once_one_migrates(empty: str) -> None:
    applied: list[tuple[str, ...]] = []

    async def start() -> None:
        async with await connect(empty) as connection:
            applied.append(await migrate(connection, [ONE, TWO]))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(start)
    assert sorted(name for names in applied for name in names) == ["0001_one", "0002_two"]


async def test_the_audit_log_can_only_grow_and_tampering_is_found(pg_dsn: str) -> None:
    from understudy.storage.pool import Pool
    from understudy.storage.repositories import Repositories

    pool = Pool(pg_dsn, min_size=0)
    await pool.open()
    audit = Repositories.on(pool).audit
    async with await connect(pg_dsn) as connection:
        await connection.execute(
            "SELECT audit_append(json_agg(json_build_object('id', 'aud_' || n, 'event', 'e', 'severity', 'low',"
            " 'created_at', now()))) FROM generate_series(1, 5) n"
        )
        for statement in ("UPDATE audit_log SET event = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
            with pytest.raises(Exception, match="append-only"):
                await connection.execute(statement.encode())
        assert (await audit.verify()).broken_at is None
        await connection.execute("SET session_replication_role = replica")  # as an intruder who is superuser would
        await connection.execute("UPDATE audit_log SET event = 'x' WHERE position = 3")
        assert (await audit.verify()).broken_at == 3
        await connection.execute("UPDATE audit_log SET event = 'e' WHERE position = 3")
        assert (await audit.verify()).broken_at is None
        await connection.execute("DELETE FROM audit_log WHERE position = 5")
        assert (await audit.verify()).broken_at == 5
        await connection.execute("DELETE FROM audit_log WHERE position = 2")
        assert (await audit.verify()).broken_at == 3
    await pool.close()
