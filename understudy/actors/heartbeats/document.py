"""What a heartbeat is set to do: the configuration as it is stored, and what it must be beside well-formed."""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from urllib.parse import unquote

import msgspec

from understudy.actors.errors import Conflict, Detail, Invalid
from understudy.actors.outbound.guarded import OutboundRefused, check_url
from understudy.actors.secrecy import SECRET_HEADER
from understudy.storage.records import Json

LEAST_INTERVAL = 300
MOST_INTERVAL = 604_800
MOST_FEEDS = 10
MOST_HEADERS = 20
LONGEST_HEADERS = 8192

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = frozenset(
    {
        "accept-encoding", "connection", "content-length", "expect", "host", "if-modified-since", "if-none-match",
        "keep-alive", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that say how a request is framed or routed, or that conditional requests need."""

HIDDEN = "[hidden]"

_POINTER = re.compile(r"(/([^~/]|~[01])*)*")


class Kind(StrEnum):
    """What is looked at."""

    RSS = "rss"
    HTTP = "http"


class Trigger(StrEnum):
    """When an http heartbeat wakes its agent; feeds do for new items.

    ``on_change`` is when the content is another, and when the page goes down or comes back, which is a change too;
    ``on_failure`` only the latter; ``always`` is each time that it is up, and when it goes down.
    """

    ON_CHANGE = "on_change"
    ON_FAILURE = "on_failure"
    ALWAYS = "always"


class Method(StrEnum):
    """How a page is asked for."""

    GET = "GET"
    HEAD = "HEAD"


class HeartbeatDocument(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The configuration. ``urls`` are the feeds of a feed heartbeat, and the one page of the other kind."""

    name: str
    type: Kind
    urls: tuple[str, ...]
    agent_id: str = "chad"
    prompt: str | None = None
    keywords: tuple[str, ...] = ()
    max_items: int = 10
    fire_on_first_run: bool = False
    method: Method = Method.GET
    headers: dict[str, str] = {}
    expected_status: int | None = None
    contains: str | None = None
    select: str | None = None
    timeout_ms: int = 10_000
    trigger: Trigger = Trigger.ON_CHANGE


def to_json(document: HeartbeatDocument) -> Json:
    """As it is stored."""
    stored: Json = msgspec.to_builtins(document)
    return stored


def from_json(stored: Json) -> HeartbeatDocument:
    """From what is stored. Raises `Conflict` when this version of the server cannot read it."""
    try:
        return msgspec.convert(stored, HeartbeatDocument)
    except msgspec.ValidationError as error:
        raise Conflict(f"the stored heartbeat is not one that this version knows: {error}") from error


def check_document(document: HeartbeatDocument, interval: int) -> None:
    """Raise `Invalid`, with a detail for each field that is wrong; lengths were checked where the values came in."""
    problems = [*_interval(interval), *_urls(document), *_http(document), *_blank(document)]
    if problems:
        details, words = zip(*problems, strict=True)
        raise Invalid("; ".join(words[:10]), details=details)


_Found = tuple[Detail, str]


def _interval(interval: int) -> Iterator[_Found]:
    if not LEAST_INTERVAL <= interval <= MOST_INTERVAL:
        said = "intervalMinutes: from 5 (minutes) to 10080 (a week)"
        yield Detail("intervalMinutes", "out_of_range", MOST_INTERVAL // 60), said


def _urls(document: HeartbeatDocument) -> Iterator[_Found]:
    feeds = document.type is Kind.RSS
    if not document.urls:
        yield Detail("url", "missing"), "url: is required"
    if len(document.urls) > (MOST_FEEDS if feeds else 1):
        most = MOST_FEEDS if feeds else 1
        yield Detail("feeds", "too_long", most), f"feeds: must have at most {most} items"
    if len(set(document.urls)) < len(document.urls):
        yield Detail("feeds", "repeated"), "feeds: one is there twice"
    for place, url in enumerate(document.urls):
        at = "url" if len(document.urls) == 1 else f"feeds[{place}]"
        try:
            check_url(url)
        except OutboundRefused as error:
            yield Detail(at, "invalid_url"), f"{at}: {error}"


def _http(document: HeartbeatDocument) -> Iterator[_Found]:
    if document.method is Method.HEAD:
        for name in ("contains", "select"):
            if getattr(document, name) is not None:
                yield Detail(name, "no_body"), f"{name}: a HEAD request has no body to look into"
    if document.select is not None and not _POINTER.fullmatch(document.select):
        yield Detail("select", "invalid_value"), "select: not a JSON pointer (RFC 6901), such as /items/0/price"
    if len(document.headers) > MOST_HEADERS:
        yield Detail("headers", "too_long", MOST_HEADERS), f"headers: must have at most {MOST_HEADERS} items"
    if sum(len(name) + len(value) for name, value in document.headers.items()) > LONGEST_HEADERS:
        yield Detail("headers", "too_long", LONGEST_HEADERS), f"headers: more than {LONGEST_HEADERS} characters"
    for name, value in document.headers.items():
        if not _NAME.fullmatch(name):
            yield Detail("headers", "invalid_name"), f"headers: {name[:40]!r} is no name of a header"
        elif name.lower() in _OURS:
            yield Detail(f"headers.{name}", "reserved"), f"headers: {name} is the server's own to send"
        elif value != value.strip() or not all(" " <= letter <= "~" or letter == "\t" for letter in value):
            yield Detail(f"headers.{name}", "invalid_value"), f"headers: {name} must be visible ASCII"


def _blank(document: HeartbeatDocument) -> Iterator[_Found]:
    if not document.name.strip():
        yield Detail("name", "too_short"), "name: there must be more than spaces"
    if any(not word.strip() for word in document.keywords):
        yield Detail("keywords", "too_short"), "keywords: there must be more than spaces"


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as they may be shown: the values of those that are named like a secret are `HIDDEN`."""
    return {name: HIDDEN if SECRET_HEADER.search(name) else value for name, value in headers.items()}


def kept_headers(given: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """*given*, in which `HIDDEN` stands for the value that there was *before*: what was shown may be sent back."""
    return {name: before.get(name, value) if value == HIDDEN else value for name, value in given.items()}


def check_kept(given: Mapping[str, str], document: HeartbeatDocument, before: HeartbeatDocument) -> None:
    """Raise `Invalid` when a secret would go where it has not gone before without having been given anew.

    Whoever may change a heartbeat may not see the secrets in its headers, and need not be who gave them: a new URL
    would hand them over. *given* is what the change says of headers.
    """
    known = {_origin(url) for url in before.urls}
    if all(_origin(url) in known for url in document.urls):
        return
    kept = [
        name
        for name in document.headers
        if SECRET_HEADER.search(name) and given.get(name, HIDDEN) == HIDDEN and name in before.headers
    ]
    if kept:
        said = "is kept from whom it was not given for: with a URL of another origin, give it again or leave it away"
        raise Invalid(
            "; ".join(f"headers: {name} {said}" for name in kept),
            details=tuple(Detail(f"headers.{name}", "give_again") for name in kept),
        )


def _origin(url: str) -> tuple[str, bytes, int | None]:
    parsed = check_url(url)
    return parsed.scheme, parsed.raw_host, parsed.port


def shown_url(url: str) -> str:
    """A URL for people: without its query, which may hold a secret, and readable."""
    return unquote(url.partition("?")[0].partition("#")[0])[:300]
