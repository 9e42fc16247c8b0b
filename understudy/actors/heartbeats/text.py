"""Pages as text: what of a body counts when it is compared with the one before. Everything here blocks."""

import difflib
import hashlib
import re
from typing import Any

import attrs
import msgspec

from understudy.actors.cutting import cut
from understudy.actors.outbound.charset import charset_of
from understudy.actors.outbound.readable import readable

KEPT = 16_384
"""Characters of a page that are kept, to show what has changed."""

MOST_LINES = 400


class PageProblem(Exception):
    """The body is not what it should be; the message says how."""


@attrs.frozen
class PageText:
    """What of a body counts: its hash, and its beginning as text."""

    hash: str
    text: str


def page_text(body: bytes, content_type: str, *, contains: str | None, select: str | None) -> PageText:
    """What of *body* counts. Raises `PageProblem` when it does not contain *contains*, or nothing is at *select*.

    JSON is compared by value, not by spelling; HTML by its readable text; anything else without regard to spacing.
    *select* is a JSON pointer (RFC 6901), and only what is there counts.
    """
    text = body.decode(charset_of(content_type) or "utf-8", "replace")
    if contains is not None and contains not in text:
        raise PageProblem("it does not contain what it should")
    kind = content_type.partition(";")[0].strip().lower()
    if select is not None or kind == "application/json" or kind.endswith("+json"):
        value = _json(text, required=select is not None)
        if value is not _NO_JSON:
            value = value if select is None else pointed(value, select)
            spelt = msgspec.json.encode(value, order="deterministic")
            return PageText(_hash(spelt), msgspec.json.format(spelt, indent=1).decode()[:KEPT])
    if kind in {"text/html", "application/xhtml+xml"}:
        text = readable(text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    text = "\n".join(line for line in lines if line)
    return PageText(_hash(text.encode("utf-8", "replace")), text[:KEPT])


def head_text(headers: list[tuple[str, str]]) -> PageText:
    """What counts of an answer that has no body."""
    text = "\n".join(f"{name}: {value}" for name, value in headers)
    return PageText(_hash(text.encode("utf-8", "replace")), text[:KEPT])


def difference(before: str, after: str, longest: int) -> str:
    """The lines that went (``-``) and came (``+``), cut to *longest* characters; empty without a text before."""
    if not before:
        return ""
    old, new = before.splitlines()[:MOST_LINES], after.splitlines()[:MOST_LINES]
    lines = list(difflib.unified_diff([x[:500] for x in old], [x[:500] for x in new], n=0, lineterm=""))[2:]
    return cut("\n".join(line for line in lines if not line.startswith("@@")), longest)


def pointed(value: Any, pointer: str) -> Any:
    """What the JSON pointer leads to (RFC 6901 §4). Raises `PageProblem` when it leads to nothing."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        match value:
            case dict() if name in value:
                value = value[name]
            case list() if re.fullmatch(r"0|[1-9][0-9]{0,8}", name) and int(name) < len(value):
                value = value[int(name)]
            case _:
                raise PageProblem(f"there is nothing at {pointer}")
    return value


_NO_JSON = object()


def _json(text: str, *, required: bool) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        if required:
            raise PageProblem(f"it is not JSON: {error}") from None
        return _NO_JSON


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
