"""The one shape of every error body."""

from collections.abc import Sequence
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong with a request: where, what, and the bound it broke."""

    path: str
    issue: str
    max: int | None = None


class Problem(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Why a request failed; ``code`` is for programs, ``error`` for people, ``requestId`` for both to ask about."""

    error: str
    code: str
    request_id: str
    details: tuple[Detail, ...] | None = None


def envelope(message: str, code: str, request_id: str, details: Sequence[Any] = ()) -> bytes:
    """The body of an error; *details* are anything with ``path``, ``issue`` and ``max``."""
    listed = tuple(Detail(d.path, d.issue, d.max) for d in details) or None
    return _encode(Problem(message, code, request_id, listed))
