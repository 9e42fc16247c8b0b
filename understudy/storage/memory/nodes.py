"""Nodes in memory."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import trio

from understudy.storage.memory.tables import Tables


class MemoryNodes:
    """See `understudy.storage.nodes.NodeRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def renew(self, node: str, lease: timedelta) -> None:
        """As the real one."""
        self._tables.check()
        self._tables.nodes[node] = self._tables.now() + lease

    async def leave(self, node: str) -> None:
        """As the real one."""
        self._tables.check()
        self._tables.nodes.pop(node, None)

    async def call(self, said: str) -> None:
        """As the real one."""
        self._tables.check()
        self._tables.call(said)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Callable[[float], Awaitable[tuple[str, ...]]]]:
        """As the real one."""
        self._tables.check()
        send, receive = trio.open_memory_channel[str](1000)
        self._tables.listeners.append(send)

        async def wait(seconds: float) -> tuple[str, ...]:
            with trio.move_on_after(seconds):
                return (await receive.receive(),)
            return ()

        try:
            yield wait
        finally:
            self._tables.listeners.remove(send)
