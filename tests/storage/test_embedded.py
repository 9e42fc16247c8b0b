"""The embedded server: made, started, stopped, killed, and found in every state a crash can leave it in."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import trio

from tests.support.database import fast_directory
from understudy.storage.connection import Connection
from understudy.storage.embedded import EmbeddedPostgres
from understudy.storage.errors import DataDirectoryInUse, EmbeddedError
from understudy.storage.postmaster import live_postmaster, read_postmaster, runs_in

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# Starts the server, says so, and waits to be killed.
PREDECESSOR = """
import sys, trio
from pathlib import Path
from understudy.storage.embedded import EmbeddedPostgres
async def main():
    async with EmbeddedPostgres(Path(sys.argv[1])) as server:
        print(server.pid, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


async def answers(server: EmbeddedPostgres) -> bool:
    connection = await Connection.connect(server.conninfo, autocommit=True)
    try:
        cursor = await connection.execute("SELECT current_database(), current_setting('listen_addresses')")
        return await cursor.fetchone() == ("understudy", "")
    finally:
        await connection.close()


def start_predecessor(data_dir: Path) -> tuple[subprocess.Popen[str], int]:
    """Another process with the server in *data_dir*, and the server's pid."""
    other = subprocess.Popen([sys.executable, "-c", PREDECESSOR, str(data_dir)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other.stdout:
        return other, int(other.stdout.readline())


async def wait_gone(pid: int, pgdata: Path) -> None:
    while runs_in(pid, pgdata):
        await trio.sleep(0.01)


async def test_a_database_is_made_once_and_what_was_in_it_is_there_at_the_next_start() -> None:
    data_dir = fast_directory("understudy-")
    told: list[str] = []
    try:
        with trio.fail_after(110):
            async with EmbeddedPostgres(data_dir, progress=told.append) as server:
                assert await answers(server)
                connection = await Connection.connect(server.conninfo, autocommit=True)
                await connection.execute("CREATE TABLE kept (n int)")
                await connection.close()
            assert told == ["creating the database"]
            async with EmbeddedPostgres(data_dir, progress=told.append) as server:
                connection = await Connection.connect(server.conninfo, autocommit=True)
                await connection.execute("SELECT n FROM kept")
                await connection.close()
            assert told == ["creating the database"]
    finally:
        shutil.rmtree(data_dir)


async def test_a_second_start_is_quick(data_dir: Path) -> None:
    with trio.fail_after(110):
        began = trio.current_time()
        async with EmbeddedPostgres(data_dir) as server:
            assert trio.current_time() - began < 10
            assert server.running


async def test_starting_twice_and_stopping_twice_are_harmless(data_dir: Path) -> None:
    with trio.fail_after(110):
        server = EmbeddedPostgres(data_dir)
        await server.start()
        pid = server.pid
        await server.start()
        assert server.pid == pid
        await server.stop()
        await server.stop()
        assert not server.running
        await server.start()
        assert await answers(server)
        await server.stop()
        assert live_postmaster(server.pgdata) is None


async def test_a_cancelled_start_is_taken_up_by_the_next(data_dir: Path) -> None:
    with trio.fail_after(110):
        server = EmbeddedPostgres(data_dir)
        for milliseconds in range(0, 60, 4):
            with trio.move_on_after(milliseconds / 1000):
                await server.start()
        await server.start()
        assert await answers(server)
        await server.stop()


async def test_a_directory_in_use_by_another_live_process_is_refused_in_one_sentence(data_dir: Path) -> None:
    with trio.fail_after(110):
        other, pid = start_predecessor(data_dir)
        try:
            with pytest.raises(DataDirectoryInUse) as refused:
                await EmbeddedPostgres(data_dir).start()
            assert str(other.pid) in str(refused.value)
            assert "\n" not in str(refused.value)
            assert runs_in(pid, data_dir / "postgres"), "the other's server is left alone"
        finally:
            other.terminate()
            other.wait()
        await wait_gone(pid, data_dir / "postgres")


async def test_no_server_outlives_a_killed_process_and_the_next_start_comes_up_at_once(data_dir: Path) -> None:
    with trio.fail_after(110):
        other, pid = start_predecessor(data_dir)
        other.kill()
        other.wait()
        async with EmbeddedPostgres(data_dir) as server:
            assert server.pid != pid
            assert await answers(server)
        other, pid = start_predecessor(data_dir)
        other.kill()
        other.wait()
        await wait_gone(pid, data_dir / "postgres")


async def test_a_server_whose_guardian_was_killed_too_is_stopped_before_a_new_one_starts(data_dir: Path) -> None:
    with trio.fail_after(110):
        other, pid = start_predecessor(data_dir)
        guardian = psutil.Process(pid).parent()
        assert guardian is not None
        other.send_signal(signal.SIGSTOP)  # or else it would see the guardian die, and put things in order
        for process in (guardian, *guardian.children()):  # its watcher would stop the server all the same
            if process.pid != pid:
                process.kill()
        other.kill()
        other.wait()
        assert runs_in(pid, data_dir / "postgres"), "an orphan indeed"
        async with EmbeddedPostgres(data_dir) as server:
            assert not runs_in(pid, data_dir / "postgres")
            assert await answers(server)


async def test_a_killed_server_recovers_at_the_next_start(data_dir: Path) -> None:
    with trio.fail_after(110):
        server = EmbeddedPostgres(data_dir)
        await server.start()
        connection = await Connection.connect(server.conninfo, autocommit=True)
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await server.wait_exited()
        assert not server.running
        await server.start()
        await connection.close()
        assert await answers(server)
        connection = await Connection.connect(server.conninfo, autocommit=True)
        await connection.execute("SELECT n FROM kept")
        await connection.close()
        await server.stop()


async def test_stale_lock_files_that_name_another_living_process_are_removed(data_dir: Path) -> None:
    pgdata = data_dir / "postgres"
    lines = [str(os.getpid()), str(pgdata), "1700000000", "5432", str(pgdata), "", "123 456", "ready"]
    (pgdata / "postmaster.pid").write_text("\n".join(lines) + "\n")
    (pgdata / ".s.PGSQL.5432.lock").write_text("\n".join(lines[:5]) + "\n")
    with trio.fail_after(110):
        async with EmbeddedPostgres(data_dir) as server:
            assert await answers(server)


async def test_a_half_written_lock_file_is_no_obstacle(data_dir: Path) -> None:
    (data_dir / "postgres" / "postmaster.pid").write_text("")
    assert read_postmaster(data_dir / "postgres") is None
    with trio.fail_after(110):
        async with EmbeddedPostgres(data_dir) as server:
            assert await answers(server)


async def test_making_the_database_that_was_cut_short_is_begun_again() -> None:
    data_dir = fast_directory("understudy-")
    try:
        (data_dir / "postgres.making" / "base").mkdir(parents=True)
        (data_dir / "postgres.making" / "PG_VERSION").write_text("18\n")
        with trio.fail_after(110):
            async with EmbeddedPostgres(data_dir) as server:
                assert await answers(server)
    finally:
        shutil.rmtree(data_dir)


async def test_a_directory_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "thesis.txt").write_text("precious")
    with trio.fail_after(110), pytest.raises(EmbeddedError, match="neither empty nor a PostgreSQL database"):
        await EmbeddedPostgres(tmp_path).start()
    assert (tmp_path / "postgres" / "thesis.txt").read_text() == "precious"


async def test_a_database_of_another_version_is_refused(data_dir: Path) -> None:
    (data_dir / "postgres" / "PG_VERSION").write_text("16\n")
    with trio.fail_after(110), pytest.raises(EmbeddedError, match="made by PostgreSQL 16"):
        await EmbeddedPostgres(data_dir).start()


async def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, settings={"max_connections": "0"})
    with trio.fail_after(110), pytest.raises(EmbeddedError, match="max_connections"):
        await server.start()
    await server.stop()
    assert live_postmaster(server.pgdata) is None


async def test_a_path_too_long_for_a_socket_gets_a_short_private_one(data_dir: Path) -> None:
    deep = data_dir / ("long" * 30)
    deep.mkdir()
    (data_dir / "postgres").rename(deep / "postgres")
    with trio.fail_after(110):
        async with EmbeddedPostgres(deep) as server:
            assert await answers(server)
            directory = Path(str(server.conninfo).split("host=")[1].split()[0])
            assert directory.lstat().st_mode & 0o777 == 0o700
    shutil.rmtree(directory)


async def test_a_socket_directory_that_is_somebody_elses_is_refused(data_dir: Path) -> None:
    deep = data_dir / ("long" * 30)
    deep.mkdir()
    (data_dir / "postgres").rename(deep / "postgres")
    with trio.fail_after(110):
        async with EmbeddedPostgres(deep) as server:
            directory = Path(str(server.conninfo).split("host=")[1].split()[0])
        directory.chmod(0o777)
        with pytest.raises(EmbeddedError, match="not ours alone"):
            await EmbeddedPostgres(deep).start()
    shutil.rmtree(directory)


@AS_ROOT
async def test_as_root_the_server_runs_as_somebody_unprivileged(data_dir: Path) -> None:
    with trio.fail_after(110):
        async with EmbeddedPostgres(data_dir) as server:
            status = Path(f"/proc/{server.pid}/status").read_text()
            assert "Uid:\t0" not in status
            assert (data_dir / "postgres").stat().st_uid != 0


@AS_ROOT
async def test_as_root_in_a_directory_nobody_else_may_enter_the_server_runs_and_nothing_is_opened_up() -> None:
    closed = fast_directory("understudy-")
    closed.chmod(0o700)
    try:
        with trio.fail_after(110):
            async with EmbeddedPostgres(closed / "data") as server:
                assert await answers(server)
                assert closed.stat().st_mode & 0o777 == 0o700
                assert "Uid:\t0" not in Path(f"/proc/{server.pid}/status").read_text()
            other, pid = start_predecessor(closed / "data")
            other.kill()
            other.wait()
            await wait_gone(pid, closed / "data" / "postgres")
    finally:
        shutil.rmtree(closed)


async def test_a_directory_that_cannot_be_written_is_refused() -> None:
    with trio.fail_after(110), pytest.raises(EmbeddedError, match="cannot be used"):
        await EmbeddedPostgres(Path("/proc/understudy")).start()
