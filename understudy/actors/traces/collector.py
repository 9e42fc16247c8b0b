"""Sending traces to a collector: OTLP over HTTP, in JSON."""

from collections.abc import Sequence

import msgspec
import trio

from understudy.actors.outbound.connection import HttpFault
from understudy.actors.outbound.http1 import Http1Client
from understudy.actors.outbound.jsonpost import JsonPoster
from understudy.actors.traces.ports import CollectorAway, CollectorRefused, Taken

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
        self._poster = JsonPoster(endpoint, "/v1/traces", headers, http=http or Http1Client(max_idle=1))
        self.place = self._poster.place
        """Where it is, fit to be shown."""

    async def send(self, body: bytes) -> Taken:
        """Send one request. Cancelled, its connection is closed. Raises `CollectorAway`, `CollectorRefused`."""
        try:
            with trio.fail_after(TIMEOUT):
                answer = await self._poster.post(body, LARGEST_ANSWER)
        except HttpFault as fault:
            raise CollectorAway(str(fault)) from fault
        except trio.TooSlowError as error:
            raise CollectorAway(f"no answer within {TIMEOUT:g} s") from error
        status = answer.head.status
        if status in _TRY_AGAIN:
            raise CollectorAway(f"it answered {status}", _seconds(answer.head.header(b"retry-after")))
        if not 200 <= status < 300:
            raise CollectorRefused(f"it answered {status}")
        return _taken(answer.body)

    def close(self) -> None:
        """Close the kept connection. Does not block; may be called twice."""
        self._poster.close()


def _taken(answer: bytes) -> Taken:
    try:
        partly = _decode(answer).partialSuccess
        return Taken() if partly is None else Taken(int(partly.rejectedSpans), partly.errorMessage)
    except (ValueError, UnicodeError):  # whoever answers 200 with something else has taken it all
        return Taken()


def _seconds(said: str | None) -> float | None:
    return min(float(said), LONGEST_WAIT) if said is not None and said.isascii() and said.isdigit() else None
