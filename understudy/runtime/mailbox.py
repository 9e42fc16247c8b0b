"""Two lanes of mail, one of them bounded."""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio.lowlevel import Task

    from understudy.runtime.context import Envelope


class Overflow(enum.Enum):
    """What happens to a message when the mailbox is at its limit."""

    REJECT = "reject"
    """The sender gets `MailboxFull`."""
    BLOCK = "block"
    """`Ref.ask` and `Ref.send` wait for room, up to their deadline; `Ref.tell`, which never waits, is rejected."""
    DROP_OLDEST = "drop_oldest"
    """The oldest message goes to the dead letters."""


_UNOPENED: deque[Envelope] = deque(maxlen=0)


class Mailbox:
    """The user lane is bounded and first in, first out; the system lane is neither bounded nor ever behind it.

    ``room`` is the limit while the mailbox is open, and 0 before its first message and after its end: the comparison
    which every sender makes anyway covers these too. Until the first message the lane is a shared empty one, since a
    deque of its own is a fifth of an idle actor's memory.
    """

    __slots__ = ("high_water", "lane", "limit", "overflow", "parked", "room", "stash", "system", "waiting")

    def __init__(self, limit: int, overflow: Overflow) -> None:
        self.limit = limit
        self.overflow = overflow
        self.room = 0
        self.lane = _UNOPENED
        self.system: deque[Envelope] | None = None
        self.stash: deque[Envelope] | None = None
        self.waiting: deque[tuple[Envelope, Task]] | None = None
        self.parked: Task | None = None
        self.high_water = 0

    def open(self) -> bool:
        """Make the lane when its first message comes; False when that has happened before."""
        if self.lane is not _UNOPENED:
            return False
        self.lane = deque()
        self.room = self.limit
        return True

    def close(self) -> None:
        """Take no more mail."""
        self.open()
        self.room = 0
        self.system = self.stash = None
