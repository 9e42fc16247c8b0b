"""Sending traces to a collector: OTLP over HTTP, in JSON."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec
import trio

from understudy.actors.outbound.connection import HttpFault, Origin
from understudy.actors.outbound.http1 import Http1Client
from understudy.actors.traces.ports import CollectorAway, CollectorRefused, Taken

CONNECT_TIMEOUT = 5.0
TIMEOUT = 10.0
"""Seconds for a request to be taken, as in OpenTelemetry's own exporters."""
LARGEST_ANSWER = 64 * 1024
"""Bytes."""
LONGEST_WAIT = 300.0
"""Seconds that are waited because a collector asks for it."""

_TRY_AGAIN = frozenset({429, 502, 503, 504})
"""Statuses after which OTLP has a client try again; after others it must not."""


class _Partly(msgspec.Struct):
    rejectedSpans: int | str = 0  # noqa: N815 - the wire's spelling
    errorMessage: str = ""  # noqa: N815 - the wire's spelling


class _Answer(msgspec.Struct):
    partialSuccess: _Partly | None = None  # noqa: N815 - the wire's spelling


_decode = msgspec.json.Decoder(_Answer).decode


class HttpCollector:
    """The collector at *endpoint*, the base address of its OTLP over HTTP; *headers* go with each request.

    The address is the operator's own setting, so that it is not guarded. Redirects are not followed.
    """

    def __init__(
        self, endpoint: str, headers: Sequence[tuple[str, str]] = (), *, http: Http1Client | None = None
    ) -> None:
        self._http = http or Http1Client(max_idle=1)
        self._origin = Origin.of(endpoint)
        self._target = f"{urlsplit(endpoint).path.rstrip('/')}/v1/traces".encode()
        self._headers = [
            (b"host", self._origin.authority.encode()),
            (b"content-type", b"application/json"),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"identity"),
            (b"user-agent", b"understudy"),
            *((name.encode(), value.encode("latin-1")) for name, value in headers),
        ]
        self.place = f"{self._origin.scheme}://{self._origin.authority}"
        """Where it is, fit to be shown."""

    async def send(self, body: bytes) -> Taken:
        """Send one request. Cancelled, its connection is closed. Raises `CollectorAway`, `CollectorRefused`."""
        headers = [*self._headers, (b"content-length", b"%d" % len(body))]
        try:
            with trio.fail_after(TIMEOUT):
                response = await self._http.post(
                    self._origin, self._target, headers, body, connect_timeout=CONNECT_TIMEOUT
                )
                try:
                    status, waits = response.head.status, response.head.header(b"retry-after")
                    answer = bytearray()
                    while (piece := await response.read()) and len(answer) <= LARGEST_ANSWER:
                        answer += piece
                finally:
                    response.release()
        except HttpFault as fault:
            raise CollectorAway(str(fault)) from fault
        except trio.TooSlowError as error:
            raise CollectorAway(f"no answer within {TIMEOUT:g} s") from error
        if status in _TRY_AGAIN:
            raise CollectorAway(f"it answered {status}", _seconds(waits))
        if not 200 <= status < 300:
            raise CollectorRefused(f"it answered {status}")
        return _taken(bytes(answer))

    def close(self) -> None:
        """Close the kept connection. Does not block; may be called twice."""
        self._http.close()


def _taken(answer: bytes) -> Taken:
    try:
        partly = _decode(answer).partialSuccess
        return Taken() if partly is None else Taken(int(partly.rejectedSpans), partly.errorMessage)
    except (ValueError, UnicodeError):  # whoever answers 200 with something else has taken it all
        return Taken()


def _seconds(said: str | None) -> float | None:
    return min(float(said), LONGEST_WAIT) if said is not None and said.isascii() and said.isdigit() else None
