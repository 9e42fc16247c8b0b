"""Decompression that never makes more bytes than were asked for, whatever a bomb wants."""

import zlib


class BadEncoding(Exception):
    """A content encoding we did not ask for, or bytes that are not what they claim."""


class Inflater:
    """Decodes ``gzip``, ``deflate`` or nothing."""

    def __init__(self, encoding: str) -> None:
        match encoding.strip().lower():
            case "" | "identity":
                self._zlib = None
            case "gzip" | "x-gzip" | "deflate":
                self._zlib = zlib.decompressobj(wbits=47)  # gzip or zlib, told by its own header
            case other:
                raise BadEncoding(f"unknown content encoding {other!r}")

    def feed(self, data: bytes, room: int) -> bytes:
        """At most *room* (at least 1) bytes out of *data*; what did not fit is dropped: nobody will ask for it."""
        if self._zlib is None:
            return data[:room]
        try:
            return self._zlib.decompress(data, room)
        except zlib.error as error:
            raise BadEncoding(f"the compressed body is broken: {error}") from error
