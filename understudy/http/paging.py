"""Pages of lists: the link to the next one (RFC 8288)."""

from typing import Protocol
from urllib.parse import urlencode

from understudy.http.replies import RawHeaders
from understudy.http.request import ApiRequest


class Window(Protocol):
    """Which part of a list is asked for; without a limit, all behind the offset."""

    @property
    def limit(self) -> int | None:
        """How much of it."""
        ...

    @property
    def offset(self) -> int:
        """Behind how much of it."""
        ...


def next_link(request: ApiRequest, asked: Window, total: int) -> RawHeaders:
    """The ``Link`` header to the page after this one; nothing when there is none, or without a limit."""
    limit, offset = asked.limit, asked.offset
    if limit is None or offset + limit >= total:
        return ()
    kept = {name: value for name, value in request.args.items() if name not in {"limit", "offset"}}
    following = urlencode({**kept, "limit": limit, "offset": offset + limit})
    return ((b"link", f'<{request.path}?{following}>; rel="next"'.encode()),)
