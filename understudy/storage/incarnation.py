"""Which run of the server this is, and which was the last one in the same data directory.

A lock that the operating system drops when its holder dies, however it dies, tells that the last one is over: what it
left behind need not wait for its lease. Servers that share a data directory (or have one on a disk without locks) only
miss that.
"""

import fcntl
import os
from pathlib import Path

from understudy.storage.records import new_id

FILE = "node.lock"


class Incarnation:
    """One run. Made at the start of the process; the lock is held until its end."""

    def __init__(self, data_dir: Path) -> None:
        """Take the lock if it is free. Blocks on files, briefly; for the start only. Never raises `OSError`."""
        self.id = new_id("nod")
        self.predecessor: str | None = None
        self._file: int | None = None
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(data_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.predecessor = os.read(file, 64).decode("ascii", "ignore").strip() or None
        except OSError:
            os.close(file)
        else:
            self._file = file

    def settle(self) -> None:
        """Note down that the next run's predecessor is this one. Until then it is still the one before."""
        if self._file is not None:
            os.pwrite(self._file, self.id.encode().ljust(64), 0)

    def close(self) -> None:
        """Let go of the lock; for the end of the process, and for tests."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
