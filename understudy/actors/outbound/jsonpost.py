"""Posting JSON to an address that the operator has set: it is not guarded, and redirects are not followed."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import attrs

from understudy.actors.outbound.connection import Head, Origin
from understudy.actors.outbound.http1 import Http1Client

CONNECT_TIMEOUT = 5.0


@attrs.frozen
class Posted:
    """What came back. ``body`` ends soon behind what was wanted at the most: longer than that, it is not whole."""

    head: Head
    body: bytes


class JsonPoster:
    """Posts to *path* below *base_url*, with *headers* on each request, over connections that are kept.

    Raises ValueError for anything but an http(s) URL with a host.
    """

    def __init__(
        self,
        base_url: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        http: Http1Client | None = None,
    ) -> None:
        self._http = http or Http1Client()
        self._origin = Origin.of(base_url)
        self._target = f"{urlsplit(base_url).path.rstrip('/')}{path}".encode()
        self._headers = [
            (b"host", self._origin.authority.encode()),
            (b"content-type", b"application/json"),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"identity"),
            (b"user-agent", b"understudy"),
            *((name.encode(), value.encode()) for name, value in headers),
        ]
        self.place = f"{self._origin.scheme}://{self._origin.authority}"
        """Where it is, fit to be shown."""

    async def post(self, body: bytes, most: int) -> Posted:
        """Send *body*, and read some more than *most* bytes of the answer at the most.

        Whoever asks bounds the time. Cancelled, the connection is closed. Raises `HttpFault`.
        """
        headers = [*self._headers, (b"content-length", b"%d" % len(body))]
        response = await self._http.post(self._origin, self._target, headers, body, connect_timeout=CONNECT_TIMEOUT)
        try:
            answer = bytearray()
            while len(answer) <= most and (piece := await response.read()):
                answer += piece
            return Posted(response.head, bytes(answer))
        finally:
            response.release()

    def close(self) -> None:
        """Close the kept connections. Does not block; may be called twice."""
        self._http.close()
