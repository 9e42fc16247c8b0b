"""What views return: a whole answer, or a stream of bytes."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import attrs
import msgspec

RawHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]

encode = msgspec.json.Encoder().encode
"""JSON in bytes, of anything msgspec knows: its structs, attrs classes, mappings, dates."""

JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")


@attrs.frozen
class Reply:
    """A whole answer. ``code`` is the error's word, for the log; None when it is no error."""

    status: int
    body: bytes = b""
    headers: RawHeaders = ()
    code: str | None = None


@attrs.frozen
class StreamReply:
    """An answer whose bytes come over time, each item of what ``open`` gives in one write.

    What ``open`` raises is still answered as an error with its own status, because it is entered before the first byte
    is sent; what is raised later ends the connection without a proper end, so that no client takes it for one.
    """

    open: Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
    headers: RawHeaders = ()
    status: int = 200


def json(value: Any, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> Reply:
    """*value* as JSON; never kept by caches, since nearly everything here is somebody's own."""
    return Reply(status, encode(value), (JSON, _NO_STORE, *headers))


def json_bytes(body: bytes, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> Reply:
    """JSON that is encoded already."""
    return Reply(status, body, (JSON, _NO_STORE, *headers))
