"""Who reads event streams at the moment, and how many at once."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from understudy.http.errors import ApiError
from understudy.http.replies import StreamReply

RETRY_AFTER = 5.0
"""Seconds after which one that was refused may find that another has ended."""


class Readers:
    """Counts the event streams that each user reads. Each costs a socket and memory for as long as it is open."""

    def __init__(self, most: int) -> None:
        """At most *most* for each user; 0 is no limit."""
        self._most = most
        self._reading: Counter[str] = Counter()

    def check(self, uid: str) -> None:
        """Whether there may be one more: asked before anything is begun for it. Raises `ApiError`."""
        if self._most and self._reading[uid] >= self._most:
            raise ApiError(
                "RATE_LIMIT",
                f"You read {self._most} event streams already: end one of them first",
                retry_after=RETRY_AFTER,
            )

    def counted(self, uid: str, reply: StreamReply) -> StreamReply:
        """*reply*, which counts while it is sent, and is refused instead when there are too many by then."""

        @asynccontextmanager
        async def chunks() -> AsyncIterator[AsyncIterator[bytes]]:
            self.check(uid)
            self._reading[uid] += 1
            try:
                async with reply.open() as items:
                    yield items
            finally:
                self._reading[uid] -= 1
                if not self._reading[uid]:
                    del self._reading[uid]

        return attrs.evolve(reply, open=chunks)
