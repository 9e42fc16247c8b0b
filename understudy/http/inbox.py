"""What one request's application has yet to receive: the mail between a connection and its ASGI application."""

from collections import deque
from collections.abc import Callable
from typing import Any

import trio

MAX_WAITING = 256 * 1024
"""Bytes of body that may wait for a slow application before its client is no longer read from."""

_GONE = {"http.disconnect", "websocket.disconnect"}


class Inbox:
    """The ``receive`` side of one ASGI application.

    hypercorn's own memory channel costs a scheduler round trip per message, and blocks its connection for ever when an
    application has ended without reading its body (a 413). Here a message that is there is taken at once, and the
    mail of an ended application goes nowhere.
    """

    __slots__ = ("_arrived", "_closed", "_last", "_messages", "_room", "_waiting", "on_disconnect")

    def __init__(self) -> None:
        self._messages: deque[Any] = deque()
        self._waiting = 0
        self._arrived: trio.Event | None = None
        self._room: trio.Event | None = None
        self._closed = False
        self._last: Any = None
        self.on_disconnect: Callable[[], object] | None = None
        """Called once, at once, when the client has left. The application sets it, and unsets it before its last word,
        since hypercorn announces a finished response as a disconnect too."""

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._last is not None

    async def receive(self) -> Any:
        """The next message; waits when there is none. After a disconnect it is that for ever."""
        while not self._messages:
            if self._last is not None:
                return self._last
            self._arrived = trio.Event()
            await self._arrived.wait()
        message = self._messages.popleft()
        self._waiting -= len(message.get("body") or message.get("bytes") or message.get("text") or b"")
        if self._room is not None and self._waiting <= MAX_WAITING:
            self._room.set()
        return message

    async def put(self, message: Any) -> None:
        """Hand over a message; waits while more than `MAX_WAITING` bytes are unread."""
        if self._closed:
            return
        if message["type"] in _GONE:
            self._last = message
            if self._room is not None:
                self._room.set()
            if self.on_disconnect is not None:
                callback, self.on_disconnect = self.on_disconnect, None
                callback()
        else:
            self._messages.append(message)
            self._waiting += len(message.get("body") or message.get("bytes") or message.get("text") or b"")
        if self._arrived is not None:
            self._arrived.set()
        while self._waiting > MAX_WAITING and not self._closed and self._last is None:
            self._room = trio.Event()
            await self._room.wait()

    def close(self) -> None:
        """The application has ended: what arrives from now on is dropped."""
        self._closed = True
        self._messages.clear()
        if self._room is not None:
            self._room.set()
