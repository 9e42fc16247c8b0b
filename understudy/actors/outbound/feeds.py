"""Feeds: bytes into items, and each item into the key by which it is known again. Nothing here fetches anything."""

import calendar
import codecs
import hashlib
import io
import re
from contextlib import suppress
from typing import Any

import attrs

from understudy.actors.cutting import one_line
from understudy.actors.outbound.charset import charset_of, known_charset
from understudy.actors.outbound.readable import readable

LONGEST_FEED_TITLE = 200
LONGEST_TITLE = 300
LONGEST_SUMMARY = 300
LONGEST_LINK = 2048

_DECLARED = re.compile(rb"\s*<\?xml[^>]{0,500}?encoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})")
_DECLARATION = re.compile(r"\A\ufeff?\s*<\?xml[^>]*\?>")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class NotAFeed(Exception):
    """These bytes are no feed; the message says what is wrong with them."""


@attrs.frozen
class FeedItem:
    """An item as text, cut to size; ``when`` is its date in seconds since 1970, where it has one that can be read."""

    key: bytes
    title: str
    link: str = ""
    published: str = ""
    summary: str = ""
    when: float | None = None

    def matches(self, keywords: tuple[str, ...]) -> bool:
        """Whether a keyword is in title or summary, in capitals or not; without keywords, always."""
        text = f"{self.title}\n{self.summary}".casefold()
        return not keywords or any(word.casefold() in text for word in keywords)


@attrs.frozen
class Feed:
    """A feed: its first ``items``, of ``length`` that it has."""

    title: str
    length: int
    items: tuple[FeedItem, ...]


def parse_feed(body: bytes, content_type: str, most: int, longest_summary: int = LONGEST_SUMMARY) -> Feed:
    """An RSS 2.0, RSS 1.0 or Atom feed with its first *most* items, in its order. Blocks. Raises `NotAFeed`.

    Entities are never expanded and nothing is fetched. The bytes are decoded here and not by the parser, which would
    take any encoding that Python has: some are slow by design, and a feed's author chooses.
    """
    import feedparser  # takes a tenth of a second, which only those who read feeds should wait for

    # As a file: bytes would be tried as the name of one first.
    file = io.BytesIO(_source(body, content_type).encode())
    headers = {"content-type": "application/xml; charset=utf-8"}
    try:
        parsed = feedparser.parse(file, response_headers=headers, sanitize_html=False, resolve_relative_uris=False)
        feed = Feed(
            _plain(parsed.feed.get("title"), LONGEST_FEED_TITLE),
            len(parsed.entries),
            tuple(_item(entry, longest_summary) for entry in parsed.entries[:most]),
        )
    except Exception as error:  # whatever trips the parser is the feed's doing
        raise NotAFeed(f"it cannot be read ({type(error).__name__})") from error
    if not parsed.get("version"):
        raise NotAFeed("that is no RSS or Atom feed")
    return feed


def _source(body: bytes, content_type: str) -> str:
    """The feed as text, without an XML declaration: what it would say of the encoding is settled.

    A byte-order mark comes before what the server says, and that before what the feed says of itself; what does not fit
    the bytes is passed over. Only encodings that documents are written in count.
    """
    declared = _DECLARED.match(body)
    named = [
        next((name for mark, name in _MARKS if body.startswith(mark)), None),
        charset_of(content_type),
        known_charset(declared[1].decode()) if declared is not None else None,
        "utf-8",
        "cp1252",
    ]
    for name in filter(None, named):
        with suppress(UnicodeError):
            text = body.decode(name)
            break
    else:
        text = body.decode("utf-8", "replace")
    return _DECLARATION.sub("", text.encode("utf-8", "replace").decode(), count=1)


def newest_first(items: list[FeedItem]) -> list[FeedItem]:
    """By date, where all have one; else in the order of the feed, which is usually the same."""
    if all(item.when is not None for item in items):
        return sorted(items, key=lambda item: -(item.when or 0.0))
    return items


def _item(entry: Any, longest_summary: int) -> FeedItem:
    title, link = _plain(entry.get("title"), LONGEST_TITLE), str(entry.get("link") or "")[:LONGEST_LINK]
    published = _plain(entry.get("published") or entry.get("updated"), 100)
    return FeedItem(
        key=item_key(str(entry.get("id") or ""), str(entry.get("link") or ""), title, published),
        title=title,
        link=link if link.startswith(("http://", "https://")) else "",  # feedparser also takes a bare guid for one
        published=published,
        summary=_plain(entry.get("summary"), longest_summary),
        when=_when(entry),
    )


def item_key(identity: str, link: str, title: str, published: str) -> bytes:
    """What an item is known by: its guid or id, else its link, else its title and date."""
    if identity:
        name = f"id\n{identity}"
    elif link:
        name = f"link\n{link}"
    else:
        name = f"text\n{title}\n{published}"
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:16]


def _when(entry: Any) -> float | None:
    parsed = entry.get("published_parsed") or entry.get("updated_parsed")
    try:
        return float(calendar.timegm(parsed)) if parsed else None
    except (ValueError, OverflowError, TypeError):
        return None


def _plain(value: object, longest: int) -> str:
    return one_line(readable(str(value or "")[: 10 * longest]), longest)
