"""As whom the embedded PostgreSQL runs: as we do, or, since it refuses root, as somebody unprivileged.

No account is made and no directory of anybody else's is opened up. Where the unprivileged account cannot reach the
programs or the data (a checkout in ``/root``), the server gets one capability, to pass by file permissions: far less
than the root it was started from has.
"""

import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from understudy.storage.errors import EmbeddedError

_CANDIDATES = ("understudy", "postgres", "nobody")

# Becomes user argv[1], group argv[2], keeping CAP_DAC_OVERRIDE for the program argv[3:] and what it starts.
_LAUNCHER = """
import ctypes, os, sys
libc, (uid, gid, *command) = ctypes.CDLL(None, use_errno=True), sys.argv[1:]
def must(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
must(libc.prctl(8, 1, 0, 0, 0))                                # PR_SET_KEEPCAPS
os.setgroups([]); os.setresgid(*[int(gid)] * 3); os.setresuid(*[int(uid)] * 3)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)                  # _LINUX_CAPABILITY_VERSION_3, this process
must(libc.capset(header, (ctypes.c_uint32 * 6)(2, 2, 2)))      # CAP_DAC_OVERRIDE: effective, permitted, inheritable
must(libc.prctl(47, 2, 1, 0, 0))                               # PR_CAP_AMBIENT, raise, CAP_DAC_OVERRIDE
os.execv(command[0], command)
"""


@attrs.frozen
class Account:
    """How to start the server's programs: a prefix to the command, and what `subprocess.Popen` is to switch to."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()
    switch: dict[str, Any] = attrs.field(factory=dict)

    def command(self, *words: str | Path) -> list[str]:
        """The command line that runs *words* under this account."""
        return [*self.prefix, *map(str, words)]


def choose_account(pgdata: Path, programs: Path) -> Account:
    """The account to run the server of *pgdata* under; gives an existing *pgdata* to it when we are root.

    An existing directory keeps its owner. Blocks for a few milliseconds. Raises `EmbeddedError` when we are root and
    no account can do it.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    owner = _owner(pgdata)
    switch: dict[str, Any] = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    os.chown(pgdata, owner.pw_uid, owner.pw_gid)
    plain = Account(owner.pw_uid, owner.pw_gid, switch=switch)
    if _reaches(plain, pgdata, programs):
        return plain
    launcher = (sys.executable, "-I", "-S", "-c", _LAUNCHER, str(owner.pw_uid), str(owner.pw_gid))
    capable = Account(owner.pw_uid, owner.pw_gid, prefix=launcher)
    if _reaches(capable, pgdata, programs):
        return capable
    raise EmbeddedError(
        f"PostgreSQL refuses to run as root, and the user {owner.pw_name!r} cannot reach {pgdata} or {programs}: "
        "run as another user, move them where others may enter, or set DATABASE_URL"
    )


def _owner(pgdata: Path) -> pwd.struct_passwd:
    uid = pgdata.stat().st_uid
    if uid != 0 and (pgdata / "PG_VERSION").exists():
        try:
            return pwd.getpwuid(uid)
        except KeyError:
            return pwd.struct_passwd((str(uid), "", uid, pgdata.stat().st_gid, "", "/", "/bin/sh"))
    for name in _CANDIDATES:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedError(
        f"PostgreSQL refuses to run as root and there is no user {', '.join(_CANDIDATES[:-1])} or {_CANDIDATES[-1]}: "
        "run as another user or set DATABASE_URL"
    )


def _reaches(account: Account, pgdata: Path, programs: Path) -> bool:
    """Whether the account can enter the data directory and run the programs: tried, not guessed from modes."""
    script: Sequence[str] = (
        "/bin/sh",
        "-c",
        'cd "$1" && "$2" --version',
        "sh",
        str(pgdata),
        str(programs / "postgres"),
    )
    try:
        tried = subprocess.run(  # noqa: S603  # our own words
            account.command(*script),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=10,
            **account.switch,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0
