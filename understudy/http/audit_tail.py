"""The end of the audit log, as it grows."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self

import trio

from understudy.actors.audit.messages import AUDIT, AuditFilter, AuditLine, WalkAudit
from understudy.actors.errors import DomainError, Forbidden, Unauthenticated
from understudy.http.errors import ApiError
from understudy.http.node import Node
from understudy.runtime import RuntimeFault

LOOK_EVERY = 1.0
"""Seconds between two looks: lines come from every node, by way of the database."""
ASK_AGAIN = 30.0
"""Seconds for which whoever reads is believed to be allowed to."""
AT_ONCE = 500
PATIENCE = 15.0


class AuditTail:
    """The lines behind the place *after*, as they come, for `sse.event_stream`; with *until* only those up to there.

    It ends when *authorize*, asked now and then, refuses; while the database is away it waits. Cancelled, it has lost
    nothing.
    """

    def __init__(
        self,
        node: Node,
        wanted: AuditFilter,
        after: int,
        authorize: Callable[[], Awaitable[object]],
        until: int | None = None,
    ) -> None:
        self._node = node
        self._until = until
        self._wanted = wanted
        self._after = after
        self._authorize = authorize
        self._asked_at = trio.current_time()
        self._ready: deque[AuditLine] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AuditLine:
        """The next line, once there is one."""
        while not self._ready:
            if self._until is not None and self._after >= self._until:
                raise StopAsyncIteration
            try:
                await self._look()
            except (ApiError, Forbidden, Unauthenticated):
                raise StopAsyncIteration from None
            except (DomainError, RuntimeFault):
                await trio.sleep(LOOK_EVERY)  # the database, or the actor, is away: it comes back
            else:
                if not self._ready:
                    await trio.sleep(LOOK_EVERY)
        return self._ready.popleft()

    def take_ready(self) -> AuditLine | None:
        """A line that needs no waiting."""
        return self._ready.popleft() if self._ready else None

    async def _look(self) -> None:
        if trio.current_time() - self._asked_at >= ASK_AGAIN:
            await self._authorize()
            self._asked_at = trio.current_time()
        lines = await self._node.ask(AUDIT, WalkAudit(self._wanted, self._after, AT_ONCE), timeout=PATIENCE)
        if lines:
            self._after = lines[-1].position
            self._ready.extend(line for line in lines if self._until is None or line.position <= self._until)
        elif self._until is not None:
            self._after = self._until
