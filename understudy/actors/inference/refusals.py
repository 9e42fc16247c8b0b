"""What an error response of a provider means: worth another try, our own mistake, or too much to read."""

import math
import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime

import msgspec

from understudy.actors.cutting import one_line
from understudy.actors.inference.errors import ContextTooLong, UpstreamFailed
from understudy.actors.outbound.connection import Head

RETRYABLE = frozenset({408, 429, 500, 502, 503, 504, 529})
"""Statuses after which another attempt may help; 529 is Anthropic's for overloaded."""

_TOO_LONG = re.compile(
    r"context[ _]length|context[ _]window|maximum context|context[ _]size|prompt is too long|input is too long"
    r"|too many (?:input )?tokens|input token count|maximum number of tokens|reduce the length of the messages"
    r"|request_too_large",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(r"api[ _-]?key", re.IGNORECASE)
_DELAY = re.compile(r"\d+(?:\.\d+)?s")


def refusal(provider: str, head: Head, body: str, *, keyed: bool) -> UpstreamFailed:
    """The error for a response with this *head* and *body*, the key already struck out of it."""
    status = head.status
    said = describe_error(body)
    if status in {400, 413, 422, 500} and _TOO_LONG.search(body):
        return ContextTooLong(f"{provider} finds the conversation too long ({status}): {said}", status=status)
    match status:
        case 401:
            text = f"{provider} refused the API key (401)" if keyed else f"{provider} wants an API key (401)"
        case 429:
            text = f"{provider} is rate limiting us (429)"
        case 529:
            text = f"{provider} is overloaded (529)"
        case 301 | 302 | 303 | 307 | 308:
            text = f"{provider} redirects ({status}) to {head.header(b'location')}: correct its base URL"
        case 400 if _BAD_KEY.search(said):  # Gemini's way to refuse a key
            status, text = 401, f"{provider} refused the API key (400)"
        case _:
            text = f"{provider} answered {status}"
    return UpstreamFailed(
        f"{text}: {said}" if said else text,
        status=status,
        retryable=status in RETRYABLE,
        at_fault=status >= 500 or status in RETRYABLE,
        retry_after=_retry_after(head, body),
    )


def describe_error(error: object, limit: int = 300) -> str:
    """One short line out of an error body, whatever its shape (OpenAI, FastAPI, plain text, HTML).

    Text that is a JSON object or array is read as such.
    """
    found = error
    if isinstance(found, str) and found.lstrip()[:1] in {"{", "["}:
        try:
            found = msgspec.json.decode(found)
        except msgspec.DecodeError:
            found = error
    while isinstance(found, Mapping):
        found = next((found[key] for key in ("error", "message", "detail", "msg", "code") if found.get(key)), None)
    if isinstance(found, list) and found:
        return describe_error(found[0], limit)
    return one_line(str(found), limit) if found else ""


def _retry_after(head: Head, body: str) -> float | None:
    """Seconds to wait as the server asks, between 0 and an hour; a date is read against the server's own clock."""
    value = head.header(b"retry-after")
    if value is None:
        return _retry_delay(body)
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
            seconds = (until - parsedate_to_datetime(head.header(b"date") or "")).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), 3600.0) if math.isfinite(seconds) else None


def _retry_delay(body: str) -> float | None:
    """Google's APIs say it in the body: ``"retryDelay": "34s"`` somewhere among the error's details."""
    if "retryDelay" not in body:
        return None
    try:
        decoded = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    for part in _mappings(decoded):
        delay = part.get("retryDelay")
        if isinstance(delay, str) and _DELAY.fullmatch(delay):
            return min(float(delay[:-1]), 3600.0)
    return None


def _mappings(value: object) -> Iterator[Mapping[str, object]]:
    """Every object in decoded JSON."""
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _mappings(part)
