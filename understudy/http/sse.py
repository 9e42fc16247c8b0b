"""Server-sent events: a reader of some log on one side, as few writes as possible on the other."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self, TypeAlias

import attrs
import msgspec
import trio

from understudy.http.draining import Draining, Phase
from understudy.http.replies import StreamReply, encode

EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)

PING = b": ping\n\n"
GOODBYE = b"retry: 1000\n: the server is stopping; come back with Last-Event-ID\n\n"

MAX_CHUNK = 64 * 1024
"""Bytes of frames that leave in one write at most, give or take one frame."""


@attrs.frozen
class Frame:
    """What one item of a log looks like on the stream. After the ``last`` one the stream ends."""

    data: bytes = b""
    last: bool = False


SKIP = Frame()

Render: TypeAlias = Callable[[Any], Frame]
Source: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncIterator[Any]]]


def frame(event: str, data: Any, event_id: str | None = None) -> bytes:
    """One event, lines ended by LF alone. *data* becomes one line of JSON, in which no raw newline can be."""
    head = f"id: {event_id}\nevent: {event}\ndata: " if event_id is not None else f"event: {event}\ndata: "
    return b"%b%b\n\n" % (head.encode(), data if isinstance(data, msgspec.Raw) else encode(data))


def event_stream(
    source: Source,
    render: Render,
    draining: Draining,
    *,
    ping_every: float,
    ends_by_itself: bool,
    cut: bytes = b"",
) -> StreamReply:
    """A response that sends each item of *source* as *render* says, until the source ends or a frame is the last.

    *cut* is sent when the source ends before a last frame. Frames that are ready together leave together. A silent
    stream sends a comment every *ping_every* seconds. When the server stops, a stream that does not end by itself ends
    at once and one that does (a turn's) when time is up; either says goodbye, so that a client knows to come back.

    The items' ``__anext__`` must lose nothing when it is cancelled. If they have a ``take_ready``, it gives what
    follows without waiting.
    """

    @asynccontextmanager
    async def chunks() -> AsyncIterator[AsyncIterator[bytes]]:
        async with source() as items:
            ends_in = Phase.CLOSING if ends_by_itself else Phase.DRAINING
            stream = _Stream(items, render, draining, ping_every, ends_in, cut)
            draining.add(stream.interrupt)
            try:
                yield stream
            finally:
                draining.discard(stream.interrupt)

    return StreamReply(chunks, EVENT_STREAM)


class Nothing:
    """A source that has ended."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> "Nothing":
        return self

    async def __anext__(self) -> Any:
        """Never gives anything."""
        raise StopAsyncIteration


class _Stream:
    """Chunks of frames, each to be sent in one write. Whoever takes them slowly slows nobody: the log waits for it."""

    def __init__(
        self, items: Any, render: Render, draining: Draining, ping_every: float, ends_in: Phase, cut: bytes
    ) -> None:
        self._items = items
        self._take_ready: Callable[[], Any] = getattr(items, "take_ready", _nothing_ready)
        self._render = render
        self._draining = draining
        self._ping_every = ping_every
        self._ends_in = ends_in
        self._cut = cut
        self._ended = False
        self._waiting: trio.CancelScope | None = None

    def interrupt(self) -> None:
        """Look again whether the server stops."""
        if self._waiting is not None:
            self._waiting.cancel()

    def __aiter__(self) -> "_Stream":
        return self

    async def __anext__(self) -> bytes:
        while not self._ended:
            if self._draining.phase >= self._ends_in:
                self._ended = True
                return GOODBYE
            item = None
            with trio.CancelScope(deadline=trio.current_time() + self._ping_every) as self._waiting:
                try:
                    item = await self._items.__anext__()
                except StopAsyncIteration:
                    self._ended = True
                    if self._cut:
                        return self._cut
                    break
            if item is not None:
                if chunk := self._gather(item):
                    return chunk
            elif trio.current_time() >= self._waiting.deadline:
                return PING
        raise StopAsyncIteration

    def _gather(self, item: Any) -> bytes:
        """The frames of *item* and of all that is ready behind it, up to a bound."""
        frames: list[bytes] = []
        size = 0
        while item is not None:
            shown = self._render(item)
            frames.append(shown.data)
            size += len(shown.data)
            if shown.last:
                self._ended = True
                break
            item = self._take_ready() if size < MAX_CHUNK else None
        return b"".join(frames)


def _nothing_ready() -> None:
    return None
