"""A real PostgreSQL for the tests: one server per run, one fresh, migrated database per test.

The server is started by the first test that asks, lives in a temporary directory, and is gone with everything it wrote
when the run ends (the guardian sees to it even when the run is killed).
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psycopg
import trio

from understudy.storage.connection import Connection
from understudy.storage.embedded import EmbeddedPostgres
from understudy.storage.migrate import migrate

# What a crash would lose is of no interest to a test's database.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "100",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}

_TEMPLATE = "tests_template"

LEFT_BEHIND = 3600.0
"""Seconds after which a directory whose lock is free is nobody's."""


def fast_directory(prefix: str) -> Path:
    """A new temporary directory, in memory where there is plenty of it: making databases is mostly writing files."""
    memory = Path("/dev/shm")  # mkdtemp makes the name and the mode
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 * 2**30
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if roomy else None))


def sweep_killed_runs(prefix: str) -> None:
    """Remove what runs left behind that were killed: directories whose lock nobody holds any more.

    A young one is left alone: whose it is may be about to take the lock.
    """
    for parent in (Path("/dev/shm"), Path(tempfile.gettempdir())):  # only looked at
        for lock in parent.glob(f"{prefix}*/postgres.lock"):
            with suppress(OSError):  # somebody holds it, or has just removed it
                if time.time() - lock.stat().st_mtime < LEFT_BEHIND:
                    continue
                with lock.open() as held:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(lock.parent, ignore_errors=True)


class TestServer:
    """The run's server, in a thread with a trio loop of its own: fixtures that outlive one test cannot be async."""

    __test__ = False  # not a test class, whatever its name says

    def __init__(self) -> None:
        sweep_killed_runs("understudy-tests-")
        self._directory = fast_directory("understudy-tests-")
        self._directory.chmod(0o755)
        self._numbers = count(1)
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._stopping: trio.Event | None = None
        self._embedded = EmbeddedPostgres(self._directory, settings=FAST)
        self._thread = threading.Thread(target=self._run, name="tests-postgres", daemon=True)
        self._thread.start()
        self._ready.wait()
        self._raise_failure()

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except Exception as error:  # noqa: BLE001  # carried to the thread that waits
            self._failed = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._token, self._stopping = trio.lowlevel.current_trio_token(), trio.Event()
        async with self._embedded:
            admin = await Connection.connect(self.dsn("postgres"), autocommit=True)
            await admin.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
            await admin.close()
            template = await Connection.connect(self.dsn(_TEMPLATE), autocommit=True)
            await migrate(template)
            await template.close()
            self._ready.set()
            await self._stopping.wait()

    def _raise_failure(self) -> None:
        if self._failed is not None:
            self.close()
            raise self._failed

    def dsn(self, database: str) -> str:
        """How to connect to one database of this server."""
        return self._embedded.conninfo_of(database)

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """The DSN of a database nobody else uses, dropped afterwards."""
        name = f"test_{next(self._numbers)}"
        template = _TEMPLATE if migrated else "template0"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode())
            try:
                yield self.dsn(name)
            finally:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def close(self) -> None:
        """Stop the server and remove all it wrote."""
        if self._token is not None and self._stopping is not None:
            with suppress(trio.RunFinishedError):  # it ended by itself, and `_raise_failure` says of what
                self._token.run_sync_soon(self._stopping.set)
        self._thread.join()
        shutil.rmtree(self._directory, ignore_errors=True)


def make_cluster(data_dir: Path) -> None:
    """Make the embedded database in *data_dir* and stop its server again."""

    async def make() -> None:
        async with EmbeddedPostgres(data_dir) as server:
            connection = await Connection.connect(server.conninfo, autocommit=True)
            await migrate(connection)
            await connection.close()

    trio.run(make)


def copy_cluster(made: Path, data_dir: Path) -> None:
    """Copy a stopped server's data, owners included."""
    subprocess.run(["cp", "-a", f"{made}/postgres", f"{data_dir}/postgres"], check=True)
