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


class Mailbox:
    """The user lane is bounded and first in, first out; the system lane is neither bounded nor ever behind it.

    ``limit`` is 0 once the mailbox is closed, so that the one comparison which every sender makes covers that as well.
    """

    __slots__ = ("high_water", "lane", "limit", "overflow", "parked", "stash", "system", "waiting")

    def __init__(self, limit: int, overflow: Overflow) -> None:
        self.limit = limit
        self.overflow = overflow
        self.lane: deque[Envelope] = deque()
        self.system: deque[Envelope] | None = None
        self.stash: deque[Envelope] | None = None
        self.waiting: deque[tuple[Envelope, Task]] | None = None
        self.parked: Task | None = None
        self.high_water = 0
