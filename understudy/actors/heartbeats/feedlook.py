"""A look at feeds: what is in them that was not there before."""

import hashlib
from collections.abc import Mapping

import attrs
import msgspec
import trio

from understudy.actors.heartbeats.document import HeartbeatDocument, shown_url
from understudy.actors.heartbeats.ports import Aside, Web
from understudy.actors.heartbeats.prompts import FEED_PROMPT, listed, render
from understudy.actors.heartbeats.verdict import BODY_LIMIT, LOOK_SECONDS, REDIRECTS, Verdict
from understudy.actors.outbound.feeds import FeedItem, NotAFeed, newest_first, parse_feed
from understudy.actors.outbound.guarded import OutboundError
from understudy.storage.heartbeat_records import RunStatus, share_of_each
from understudy.storage.records import Json

ACCEPT = "application/rss+xml, application/atom+xml, application/rdf+xml, application/xml;q=0.9, */*;q=0.5"
LONGEST_VALIDATOR = 500


class FeedState(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """By what a server can tell that its feed is as it was (RFC 9110 §13). There is one as soon as it was read."""

    etag: str | None = None
    last_modified: str | None = None


class FeedsState(msgspec.Struct, frozen=True):
    """Feeds that were read, by the name of each."""

    feeds: dict[str, FeedState] = {}


@attrs.frozen
class _Read:
    """A feed and what came of asking for it; ``items`` None: it is as it was, or ``problem`` says why not."""

    name: str
    state: FeedState | None = None
    status: int | None = None
    items: tuple[FeedItem, ...] | None = None
    problem: str | None = None


def feed_name(url: str) -> str:
    """The name under which a feed's keys are kept."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:16]


async def look_at_feeds(
    document: HeartbeatDocument, stored: Json, known: Mapping[str, frozenset[bytes]], *, web: Web, aside: Aside
) -> Verdict:
    """Ask for all feeds at once, within `LOOK_SECONDS` each, and find what is new in them.

    A feed that is read for the first time has nothing new but, with ``fire_on_first_run``, its newest item. One that
    cannot be read is left as it was; when none can, that is an error.
    """
    state = _state(stored)
    most = share_of_each(len(document.urls))
    reads: dict[str, _Read] = {}

    async def read(url: str) -> None:
        reads[url] = await _read(url, state.feeds.get(feed_name(url)), most, web, aside)

    async with trio.open_nursery() as nursery:
        for url in document.urls:
            nursery.start_soon(read, url)
    return _verdict(document, state, known, [reads[url] for url in document.urls])


async def _read(url: str, before: FeedState | None, most: int, web: Web, aside: Aside) -> _Read:
    name, headers = feed_name(url), {"accept": ACCEPT}
    if before is not None and before.etag is not None:
        headers["if-none-match"] = before.etag
    if before is not None and before.last_modified is not None:
        headers["if-modified-since"] = before.last_modified
    where = shown_url(url)
    try:
        answer = await web.fetch(
            url, headers=headers, max_bytes=BODY_LIMIT, timeout=LOOK_SECONDS, max_redirects=REDIRECTS
        )
    except OutboundError as error:
        return _Read(name, problem=str(error))
    if answer.status == 304 and before is not None:
        return _Read(name, state=before, status=304)
    if not 200 <= answer.status < 300:
        return _Read(name, status=answer.status, problem=f"{where}: HTTP {answer.status}")
    if answer.truncated:
        return _Read(name, status=answer.status, problem=f"{where}: larger than {BODY_LIMIT} bytes")
    try:
        feed = await aside(parse_feed, answer.body, answer.headers.get("content-type", ""), most)
    except NotAFeed as error:
        return _Read(name, status=answer.status, problem=f"{where}: {error}")
    except trio.TooSlowError:
        return _Read(name, status=answer.status, problem=f"{where}: takes too long to read")
    state = FeedState(validator(answer.headers.get("etag")), validator(answer.headers.get("last-modified")))
    return _Read(name, state, answer.status, feed.items)


def _verdict(
    document: HeartbeatDocument, state: FeedsState, known: Mapping[str, frozenset[bytes]], reads: list[_Read]
) -> Verdict:
    status = max((read.status for read in reads if read.status is not None), default=None)
    note = "; ".join(read.problem for read in reads if read.problem is not None)[:500] or None
    if all(read.problem is not None for read in reads):
        return Verdict(RunStatus.ERROR, http_status=status, note=note, failed=True)
    unknown: list[FeedItem] = []
    for read in reads:
        items = read.items or ()
        if read.name in state.feeds:
            unknown += [item for item in items if item.key not in known.get(read.name, frozenset())]
        elif document.fire_on_first_run and items:
            unknown.append(newest_first(list(items))[0])
    told = newest_first([item for item in unknown if item.matches(document.keywords)])[: document.max_items]
    first = any(read.items is not None and read.name not in state.feeds for read in reads)
    after = {read.name: read.state or state.feeds.get(read.name) for read in reads}
    feeds = FeedsState({name: kept for name, kept in after.items() if kept is not None})
    return Verdict(
        RunStatus.OK if unknown or first else RunStatus.UNCHANGED,
        state=msgspec.to_builtins(feeds),
        message=_message(document, told) if told else None,
        item_count=len(told),
        http_status=status,
        note=note,
        seen={read.name: tuple({item.key: None for item in read.items}) for read in reads if read.items is not None},
        watched=tuple(read.name for read in reads),
    )


def _message(document: HeartbeatDocument, told: list[FeedItem]) -> str:
    values = {
        "items": listed(told),
        "status": f"{len(told)} new item{'s' if len(told) != 1 else ''}",
        "url": ", ".join(shown_url(url) for url in document.urls),
    }
    return render(document.prompt or FEED_PROMPT, values)


def _state(stored: Json) -> FeedsState:
    try:
        return msgspec.convert(stored, FeedsState)
    except msgspec.ValidationError:
        return FeedsState()  # of another version, or of none: then everything is read for the first time


def validator(value: str | None) -> str | None:
    """What a server said, if it can be sent back to it."""
    sendable = value is not None and len(value) <= LONGEST_VALIDATOR and all(" " <= letter <= "~" for letter in value)
    return value if sendable else None
