"""Where a response's body ends (RFC 9112 §6.3), decoded over whole reads.

h11 parses heads for us, but takes some 8 µs for each HTTP chunk, and a token stream is nothing but small chunks: this
takes under 1 µs. The tests hold it to h11's reading of the same bytes.
"""

import re
from typing import Protocol

_SIZE_LINE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_LINE_LIMIT = 4096
_TRAILER_LIMIT = 16 * 1024


class BadFraming(Exception):
    """The bytes break the rules of their framing: where this response ends cannot be known."""


class Body(Protocol):
    """Decodes one body. After ``done``, ``rest`` holds the bytes behind it."""

    done: bool
    rest: bytes

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in *data*; empty when there are none yet. Raises `BadFraming`."""
        ...

    def end(self) -> bool:
        """The connection ended: whether the body may end so."""
        ...


class LengthBody:
    """A body of *length* bytes."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """See `Body`."""
        if len(data) > self._left:
            data, self.rest = data[: self._left], self.rest + data[self._left :]
        self._left -= len(data)
        self.done = self._left == 0
        return data

    def end(self) -> bool:
        """Only whole."""
        return self.done


class ClosedBody:
    """A body that lasts until the server closes, as HTTP/1.0 has it: a cut cannot be told from an end."""

    def __init__(self) -> None:
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """See `Body`."""
        return data

    def end(self) -> bool:
        """At any time."""
        self.done = True
        return True


class ChunkedBody:
    """A body in chunks; extensions and trailers are skipped."""

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self._left = 0  # bytes of the current chunk still to come
        self._closing = False  # the CRLF behind a chunk is due
        self._trailers = False  # the last chunk was seen

    def feed(self, data: bytes) -> bytes:
        """See `Body`."""
        buffer = self.rest + data if self.rest else data
        size = len(buffer)
        at = 0
        pieces: list[bytes] = []
        while not self._trailers:
            if self._left:
                piece = buffer[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._closing = True
            if self._closing:
                if size - at < 2:
                    break
                if buffer[at : at + 2] != b"\r\n":
                    raise BadFraming("a chunk is longer than it says")
                at += 2
                self._closing = False
            line = _SIZE_LINE.match(buffer, at)
            if line is None:
                if buffer.find(b"\n", at) >= 0 or size - at > _LINE_LIMIT:
                    raise BadFraming("not a chunk size")
                break
            at = line.end()
            self._left = int(line[1], 16)
            self._trailers = not self._left
        self.rest = buffer[at:]
        if self._trailers and not self.done:
            self._skip_trailers()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def end(self) -> bool:
        """Only after the last chunk."""
        return self.done

    def _skip_trailers(self) -> None:
        if self.rest.startswith(b"\r\n"):
            self.rest, self.done = self.rest[2:], True
            return
        end = self.rest.find(b"\r\n\r\n")
        if end >= 0:
            self.rest, self.done = self.rest[end + 4 :], True
        elif len(self.rest) > _TRAILER_LIMIT:
            raise BadFraming("endless trailers")


def body_of(status: int, headers: list[tuple[bytes, bytes]]) -> Body:
    """How the body of a response to POST is framed. h11 has checked the headers: valid, no two lengths, lower-case."""
    if status in {204, 304}:
        return LengthBody(0)
    length: bytes | None = None
    for name, value in headers:
        if name == b"transfer-encoding":  # wins over a length, which RFC 9112 then calls an error of the sender
            return ChunkedBody()
        if name == b"content-length":
            length = value
    return ClosedBody() if length is None else LengthBody(int(length))
