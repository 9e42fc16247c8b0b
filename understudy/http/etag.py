"""Entity tags: how a client says which state of a thing it has seen (RFC 9110 §8.8 and §13).

A tag is a hash of the answer's own body, and says so by being weak. ``If-Match`` is compared weakly too: the RFC would
have it never match a weak tag, but what it is for here is to notice that somebody else was faster, and for that the
hash is enough.
"""

import base64
import hashlib
import re
from typing import Any

from understudy.actors.errors import PreconditionFailed
from understudy.http.replies import JSON, RawHeaders, Reply, encode
from understudy.http.request import ApiRequest

_TAG = re.compile(r'(?:W/)?("[^"]*")')


def etag_of(body: bytes) -> str:
    """The tag of an answer with this *body*."""
    return f'W/"{base64.urlsafe_b64encode(hashlib.sha256(body).digest()[:16]).decode().rstrip("=")}"'


def tagged(request: ApiRequest, value: Any, *, cache: str, vary: str, headers: RawHeaders = ()) -> Reply:
    """*value* as JSON with its tag; or 304 and no body, when ``If-None-Match`` says that the client has it.

    *cache* and *vary* are the values of ``Cache-Control`` and ``Vary``.
    """
    body = encode(value)
    tag = etag_of(body)
    headers = ((b"etag", tag.encode()), (b"cache-control", cache.encode()), (b"vary", vary.encode()), *headers)
    held = request.headers.get("If-None-Match")
    if held is not None and names(held, tag):
        return Reply(304, b"", headers)
    return Reply(200, body, (JSON, *headers))


def with_tag(value: Any) -> RawHeaders:
    """The header with the tag of *value*, for the answer to a change."""
    return ((b"etag", etag_of(encode(value)).encode()),)


def check_if_match(request: ApiRequest, value: Any) -> bool:
    """Whether the request depends on ``If-Match``; raises `PreconditionFailed` when it names no tag of *value*."""
    wanted = request.headers.get("If-Match")
    if wanted is None:
        return False
    if not names(wanted, etag_of(encode(value))):
        raise PreconditionFailed("it was changed since you read it; read it again")
    return True


def names(header: str, tag: str) -> bool:
    """Whether the header's list has *tag*, or is ``*``; weak and strong tags are alike."""
    if header.strip() == "*":
        return True
    return tag.removeprefix("W/") in _TAG.findall(header)
