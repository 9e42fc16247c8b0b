"""What a PostgreSQL data directory says about the server that runs in it, or ran."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from subprocess import run

import attrs
import trio

PORT = 5432  # only the name of the socket file; the embedded server listens on no address

SOCKET_PATH_MAX = 107
"""Bytes that a unix socket's path may have (Linux; macOS allows 103, which `socket_fits` respects)."""


@attrs.frozen
class Postmaster:
    """The lock file of a server: who wrote it, and how far it said it was (``starting``, ``ready``, ``stopping``)."""

    pid: int
    status: str


def read_postmaster(pgdata: Path) -> Postmaster | None:
    """What ``postmaster.pid`` says; None when there is none, or not yet a whole one."""
    try:
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
        return Postmaster(int(lines[0]), lines[7].strip() if len(lines) > 7 else "starting")
    except (FileNotFoundError, IndexError, ValueError):
        return None


def runs_in(pid: int, pgdata: Path) -> bool:
    """Whether process *pid* is a server of *pgdata*, and not some other process that was given its number since."""
    proc = Path("/proc") / str(pid)
    if Path("/proc/self").exists():
        try:
            # A postmaster's working directory is its data directory.
            return (proc / "cwd").samefile(pgdata)
        except OSError:
            return False
    asked = ["ps", "-o", "command=", "-p", str(pid)]
    listed = run(asked, capture_output=True, text=True, check=False)  # noqa: S603  # our own words
    return str(pgdata) in listed.stdout


def live_postmaster(pgdata: Path) -> Postmaster | None:
    """The server that runs in *pgdata* now, whoever started it."""
    postmaster = read_postmaster(pgdata)
    return postmaster if postmaster is not None and runs_in(postmaster.pid, pgdata) else None


def send(pid: int, what: signal.Signals) -> None:
    """Signal a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, what)


async def stop_postmaster(pgdata: Path, *, fast: float = 10.0, immediate: float = 5.0) -> bool:
    """Stop the server that runs in *pgdata*: fast, after *fast* seconds immediate, then for good. Whether it is gone.

    PostgreSQL recovers from each of them; only the last needs the crash recovery at the next start.
    """
    for how, seconds in ((signal.SIGINT, fast), (signal.SIGQUIT, immediate), (signal.SIGKILL, immediate)):
        postmaster = live_postmaster(pgdata)
        if postmaster is None:
            return True
        send(postmaster.pid, how)
        with trio.move_on_after(seconds):
            while runs_in(postmaster.pid, pgdata):  # noqa: ASYNC110  # not our child: there is nothing to wait on
                await trio.sleep(0.02)
            return True
    return live_postmaster(pgdata) is None


def remove_stale_locks(pgdata: Path, socket_dir: Path) -> None:
    """Remove what a server that is certainly gone left behind.

    PostgreSQL does so itself, unless another process has the dead server's number by now, as is common after a
    container restart: then it would refuse to start for ever.
    """
    (pgdata / "postmaster.pid").unlink(missing_ok=True)
    (socket_dir / f".s.PGSQL.{PORT}").unlink(missing_ok=True)
    (socket_dir / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)


def socket_fits(directory: Path) -> bool:
    """Whether the server's socket in *directory* has a path that the operating system takes."""
    limit = SOCKET_PATH_MAX if os.uname().sysname == "Linux" else 103
    return len(os.fsencode(directory / f".s.PGSQL.{PORT}")) <= limit
