"""The contract with psycopg's inside: what an upgrade of it must not change for us."""

import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
import pytest
import trio
import trio.testing
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from tests.support.tls import make_certificate, silent_port, tcp_front, tls_front
from understudy.storage.connection import Connection


@asynccontextmanager
async def connected(dsn: str, **options: Any) -> AsyncIterator[Connection[Any]]:
    connection = await Connection.connect(dsn, autocommit=True, **options)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def connection(pg_dsn: str) -> AsyncIterator[Connection[Any]]:
    with trio.fail_after(30):
        async with connected(pg_dsn) as connection:
            yield connection


async def one(connection: Connection[Any], query: str, *arguments: object) -> Any:
    cursor = await connection.execute(query.encode(), arguments)
    row = await cursor.fetchone()
    assert row is not None
    return row[0]


def socket_path(dsn: str) -> str:
    return f"{conninfo_to_dict(dsn)['host']}/.s.PGSQL.5432"


def database(dsn: str) -> str:
    return str(conninfo_to_dict(dsn)["dbname"])


async def test_the_psycopg_that_this_was_written_for_is_installed() -> None:
    assert psycopg.__version__.startswith("3.3."), "read its changes, then widen the pin and this test"
    assert pq.__impl__ == "binary"


async def test_queries_pass_values_both_ways(connection: Connection[Any]) -> None:
    cursor = await connection.execute("SELECT %s::int + 1, %s::text, %s::jsonb", (41, "ü\n'", '{"a": [1, null]}'))
    assert await cursor.fetchall() == [(42, "ü\n'", {"a": [1, None]})]


async def test_a_result_larger_than_any_buffer_arrives_whole(connection: Connection[Any]) -> None:
    text = await one(connection, "SELECT repeat('0123456789', 3000000)")
    assert len(text) == 30_000_000
    assert await one(connection, "SELECT length(%s)", text) == 30_000_000


async def insert_and_raise(connection: Connection[Any], error: Exception | None) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (2)")
        if error is not None:
            raise error
        await connection.execute("SELECT 1/0")


async def test_a_transaction_commits_or_rolls_back_with_its_block(connection: Connection[Any]) -> None:
    await connection.execute("CREATE TABLE t (n int)")
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(ZeroDivisionError):
            await insert_and_raise(connection, ZeroDivisionError())
    with pytest.raises(KeyError):
        await insert_and_raise(connection, KeyError())
    with pytest.raises(psycopg.errors.DivisionByZero):
        await insert_and_raise(connection, None)
    assert await one(connection, "SELECT array_agg(n) FROM t") == [1]
    assert connection.reusable


async def test_a_pipeline_sends_everything_and_collects_everything(connection: Connection[Any]) -> None:
    await connection.execute("CREATE TABLE t (n int)")
    async with connection.pipeline(), connection.transaction():
        cursors = [await connection.execute("INSERT INTO t VALUES (%s) RETURNING n", (n,)) for n in range(500)]
    assert [await cursor.fetchone() for cursor in cursors] == [(n,) for n in range(500)]
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with connection.pipeline():
            await connection.execute("SELECT 1/0")
    assert connection.reusable
    assert await one(connection, "SELECT count(*) FROM t") == 500


async def test_copy_goes_in_and_out(connection: Connection[Any]) -> None:
    await connection.execute("CREATE TABLE t (n int, s text)")
    async with connection.cursor() as cursor:
        async with cursor.copy("COPY t FROM STDIN") as copy:
            for n in range(20_000):
                await copy.write_row((n, "x" * 100))
        assert await one(connection, "SELECT count(*) FROM t") == 20_000
        total = 0
        async with cursor.copy("COPY t TO STDOUT") as copy:
            async for row in copy.rows():
                total += int(row[0])
    assert total == sum(range(20_000))
    assert connection.reusable


async def test_notifications_arrive_while_waiting_for_them(connection: Connection[Any], pg_dsn: str) -> None:
    await connection.execute("LISTEN news")
    got: list[str] = []
    async with connected(pg_dsn) as sender, trio.open_nursery() as nursery:

        async def listen() -> None:
            async with aclosing(connection.notifies(stop_after=2)) as notes:
                async for note in notes:
                    got.append(note.payload)

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        for payload in ("one", "two"):
            await sender.execute("SELECT pg_notify('news', %s)", (payload,))
    assert got == ["one", "two"]
    async with aclosing(connection.notifies(timeout=0.05)) as notes:
        assert [note async for note in notes] == []
    assert connection.reusable


async def test_cancelling_a_task_cancels_its_query_on_the_server(connection: Connection[Any], pg_dsn: str) -> None:
    with trio.move_on_after(0.1) as scope:
        await connection.execute("SELECT pg_sleep(60)")
    assert scope.cancelled_caught
    assert connection.reusable
    assert await one(connection, "SELECT 1") == 1
    async with connected(pg_dsn) as other:
        state = await one(other, "SELECT state FROM pg_stat_activity WHERE pid = %s", connection.info.backend_pid)
        assert state == "idle"


async def test_a_task_cancelled_in_a_transaction_rolls_back_and_leaves_the_connection_usable(
    connection: Connection[Any],
) -> None:
    await connection.execute("CREATE TABLE t (n int)")
    with trio.move_on_after(0.1):
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1)")
            await connection.execute("SELECT pg_sleep(60)")
    assert connection.reusable
    assert await one(connection, "SELECT count(*) FROM t") == 0


async def test_a_transaction_whose_block_has_ended_is_committed_even_if_its_task_is_cancelled_just_then(
    connection: Connection[Any],
) -> None:
    await connection.execute("CREATE TABLE t (n int)")
    with trio.CancelScope() as scope:
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1)")
            scope.cancel()
        committed = True
    assert committed
    assert await one(connection, "SELECT count(*) FROM t") == 1


async def test_a_task_cancelled_in_a_pipeline_leaves_the_connection_usable_or_closed(
    connection: Connection[Any],
) -> None:
    with trio.move_on_after(0.1):
        async with connection.pipeline():
            for _ in range(10):
                await connection.execute("SELECT pg_sleep(60)")
            await (await connection.execute("SELECT 1")).fetchone()
    assert await connection.restore() == (not connection.closed)
    if not connection.closed:
        assert await one(connection, "SELECT 1") == 1


async def test_a_task_cancelled_in_a_copy_leaves_the_connection_usable_or_closed(connection: Connection[Any]) -> None:
    await connection.execute("CREATE TABLE t (n int)")
    with trio.move_on_after(0.1):
        async with connection.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
            while True:
                await copy.write_row((1,))
    assert await connection.restore()
    assert await one(connection, "SELECT count(*) FROM t") == 0
    with trio.move_on_after(0.05):
        async with connection.cursor() as cursor, cursor.copy("COPY (SELECT pg_sleep(60)) TO STDOUT") as copy:
            await copy.read()
    if await connection.restore():
        assert await one(connection, "SELECT 1") == 1
    else:
        assert connection.closed


async def test_whenever_a_task_is_cancelled_its_connection_is_usable_or_closed(pg_dsn: str) -> None:
    rng = random.Random(1)
    survived = 0

    async def use(connection: Connection[Any]) -> None:
        while True:
            async with connection.transaction():
                await connection.execute("SELECT count(*) FROM generate_series(1, 3000)")
                async with connection.transaction():
                    await connection.execute("SELECT 1")
            await connection.call(b"SELECT $1::text", b"x")

    with trio.fail_after(30):
        connection = await Connection.connect(pg_dsn, autocommit=True, prepare_threshold=0)
        for _ in range(150):
            with trio.move_on_after(rng.uniform(0, 0.004)):
                await use(connection)
            if await connection.restore():
                survived += 1
                assert await one(connection, "SELECT 7") == 7
            else:
                connection = await Connection.connect(pg_dsn, autocommit=True, prepare_threshold=0)
        await connection.close()
    assert survived > 100


async def test_cancelling_while_connecting_leaves_nothing_behind(pg_dsn: str) -> None:
    with trio.fail_after(20):
        async with silent_port() as port:
            with trio.move_on_after(0.05) as scope:
                await Connection.connect(host="127.0.0.1", port=port)
            assert scope.cancelled_caught
        async with connected(pg_dsn) as connection:
            assert await one(connection, "SELECT 1") == 1


async def test_a_server_that_does_not_answer_is_given_up_after_the_connect_timeout() -> None:
    with trio.fail_after(20):
        async with silent_port() as port:
            began = trio.current_time()
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                await Connection.connect(host="127.0.0.1", port=port, connect_timeout=2)
            assert 1.9 < trio.current_time() - began < 15


async def test_the_first_of_several_hosts_that_answers_is_used(pg_dsn: str) -> None:
    with trio.fail_after(20):
        async with (
            tcp_front(socket_path(pg_dsn)) as port,
            connected(
                f"host=127.0.0.1,localhost,127.0.0.1 port=1,1,{port} user=understudy dbname={database(pg_dsn)}"
            ) as connection,
        ):
            assert connection.info.port == port
            assert await one(connection, "SELECT 1") == 1
        with pytest.raises(psycopg.OperationalError, match="All failures were"):
            await Connection.connect("host=127.0.0.1,127.0.0.1 port=1,2 user=understudy")


async def test_an_unknown_host_is_an_error_that_names_it_and_never_blocks_the_loop() -> None:
    with trio.fail_after(30):
        with pytest.raises(psycopg.OperationalError, match=r"nowhere\.invalid"):
            await Connection.connect("host=nowhere.invalid user=understudy connect_timeout=5")


async def test_tls_works_with_the_certificate_verified_and_cancels_over_tls_too(pg_dsn: str, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with trio.fail_after(30):
        async with (
            tls_front(socket_path(pg_dsn), certificate, key) as port,
            connected(
                host="localhost",
                dsn="",
                port=port,
                user="understudy",
                dbname=database(pg_dsn),
                sslmode="verify-full",
                sslrootcert=str(certificate),
            ) as connection,
        ):
            assert connection.pgconn.ssl_in_use
            assert len(await one(connection, "SELECT repeat('x', 5000000)")) == 5_000_000
            assert await one(connection, "SELECT length(%s)", "y" * 5_000_000) == 5_000_000
            with trio.move_on_after(0.1) as scope:
                await connection.execute("SELECT pg_sleep(60)")
            assert scope.cancelled_caught
            assert await one(connection, "SELECT 1") == 1


async def test_tls_with_a_certificate_that_is_not_trusted_is_refused(pg_dsn: str, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    trusted, _ = make_certificate(other)
    with trio.fail_after(30):
        async with tls_front(socket_path(pg_dsn), certificate, key) as port:
            with pytest.raises(psycopg.OperationalError, match="certificate"):
                await Connection.connect(
                    host="localhost", port=port, user="understudy", sslmode="verify-full", sslrootcert=str(trusted)
                )


async def test_closing_wakes_whoever_waits_on_the_connection(pg_dsn: str) -> None:
    with trio.fail_after(20):
        connection = await Connection.connect(pg_dsn, autocommit=True)

        async def wait_long() -> None:
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT pg_sleep(60)")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_long)
            await trio.testing.wait_all_tasks_blocked()
            await connection.close()
    assert connection.closed


async def test_a_backend_that_is_terminated_is_an_error_and_a_closed_connection(
    connection: Connection[Any], pg_dsn: str
) -> None:
    async with connected(pg_dsn) as other:
        await other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        await connection.execute("SELECT 1")
    assert connection.closed
    assert not await connection.restore()
    assert not await connection.answers(1.0)


async def test_a_prepared_call_survives_that_all_statements_were_deallocated(connection: Connection[Any]) -> None:
    assert (await connection.call(b"SELECT $1::int + 1", b"1")).get_value(0, 0) == b"2"
    await connection.execute("DEALLOCATE ALL")
    assert (await connection.call(b"SELECT $1::int + 1", b"2")).get_value(0, 0) == b"3"
    with pytest.raises(psycopg.errors.DivisionByZero):
        await connection.call(b"SELECT 1/$1::int", b"0")
    assert connection.reusable


async def test_a_long_copy_does_not_starve_the_other_tasks(connection: Connection[Any]) -> None:
    await connection.execute("CREATE TABLE t (n int)")
    longest = 0.0
    done = False

    async def watch() -> None:
        nonlocal longest
        while not done:
            began = time.process_time()  # what others do on this machine is not ours
            await trio.lowlevel.checkpoint()
            longest = max(longest, time.process_time() - began)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        async with connection.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
            for n in range(30_000):
                await copy.write_row((n,))
        done = True
    assert longest < 0.25


async def test_nothing_of_asyncio_runs(pg_dsn: str) -> None:
    called: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and str(module).split(".")[0] == "asyncio":
            called.add(f"{module}.{frame.f_code.co_name}")

    sys.setprofile(note)
    try:
        async with connected(pg_dsn) as connection:
            async with connection.transaction(), connection.pipeline():
                await connection.execute("CREATE TABLE t (n int)")
            async with connection.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
                await copy.write_row((1,))
            with trio.move_on_after(0.05):
                await connection.execute("SELECT pg_sleep(60)")
            await connection.execute("LISTEN x")
            async with aclosing(connection.notifies(timeout=0.01)) as notes:
                assert [note async for note in notes] == []
    finally:
        sys.setprofile(None)
    assert called == set()
