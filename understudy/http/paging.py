"""Pages of lists: the link to the next one (RFC 8288)."""

from urllib.parse import urlencode

from understudy.http.replies import RawHeaders
from understudy.http.request import ApiRequest


def next_link(request: ApiRequest, *, limit: int | None, offset: int, total: int) -> RawHeaders:
    """The ``Link`` header to the page after this one; nothing when there is none, or without a *limit*."""
    if limit is None or offset + limit >= total:
        return ()
    kept = {name: value for name, value in request.args.items() if name not in {"limit", "offset"}}
    following = urlencode({**kept, "limit": limit, "offset": offset + limit})
    return ((b"link", f'<{request.path}?{following}>; rel="next"'.encode()),)
