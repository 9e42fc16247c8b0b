"""Tools that look at what others publish: feeds, JSON, and the web's search when there is one."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import trio
from msgspec import Meta

from understudy.actors.outbound.feeds import NotAFeed, parse_feed
from understudy.actors.outbound.guarded import GuardedClient, OutboundError
from understudy.actors.tools.builtin import FETCH_LIMIT, FETCH_SECONDS
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.tool import Arguments, Tool, ToolFailed

KEEP_SECONDS = 300.0
LONGEST_JSON = 262_144
MOST_STEPS = 32
MOST_FOUND = 1000
LONGEST_SUMMARY = 500

_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_][A-Za-z0-9_-]*)|\[\s*(?:(?P<index>-?\d{1,9})|(?P<all>\*)|"(?P<quoted>[^"\]]*)")\s*\]"""
)


class RssRead(Arguments, frozen=True):
    """Arguments of ``rss_read``."""

    url: Annotated[str, Meta(min_length=1, max_length=2048, description="the http or https URL of an RSS or Atom feed")]
    limit: Annotated[int, Meta(ge=1, le=50, description="the newest so many items")] = 10


class JsonQuery(Arguments, frozen=True):
    """Arguments of ``json_query``."""

    data: Annotated[str, Meta(max_length=LONGEST_JSON, description="a JSON document")]
    path: Annotated[str, Meta(max_length=500, description='for example $.items[0].name, $.items[*].id or $["a b"]')]


class WebSearch(Arguments, frozen=True):
    """Arguments of ``web_search``."""

    query: Annotated[str, Meta(min_length=1, max_length=400)]
    limit: Annotated[int, Meta(ge=1, le=20)] = 5


def reading_tools(outbound: GuardedClient) -> list[Tool]:
    """The tools, on this client."""
    parsing = trio.CapacityLimiter(2)

    async def rss_read(arguments: RssRead, context: ToolContext) -> str:
        del context
        try:
            answer = await outbound.fetch(arguments.url, max_bytes=FETCH_LIMIT, timeout=FETCH_SECONDS)
        except OutboundError as error:
            raise ToolFailed(str(error)) from error
        if answer.status >= 400:
            raise ToolFailed(f"{answer.url} answered HTTP {answer.status}")
        kind = answer.headers.get("content-type", "")
        # A feed that takes long to parse keeps its thread and its place among the two, and nobody else.
        return await trio.to_thread.run_sync(
            feed_text, answer.body, kind, arguments.limit, limiter=parsing, abandon_on_cancel=True
        )

    async def json_query(arguments: JsonQuery, context: ToolContext) -> str:
        del context
        return query_json(arguments.data, arguments.path)

    async def web_search(arguments: WebSearch, context: ToolContext) -> str:
        del arguments, context
        raise ToolFailed("web search is not configured on this server; use http_get on a page you know")

    return [
        Tool(
            "rss_read",
            "Read the newest items of an RSS or Atom feed: title, date, address, summary.",
            RssRead,
            rss_read,
            timeout=FETCH_SECONDS + 5,
            keep=KEEP_SECONDS,
        ),
        Tool("json_query", "Take values out of a JSON document by a path.", JsonQuery, json_query),
        Tool("web_search", "Search the web.", WebSearch, web_search),
    ]


def feed_text(body: bytes, content_type: str, limit: int) -> str:
    """The feed as text. Blocks. Raises `ToolFailed` for what is no feed."""
    try:
        feed = parse_feed(body, content_type, limit, LONGEST_SUMMARY)
    except NotAFeed as error:
        raise ToolFailed(str(error)) from error
    lines = [f"{feed.title or 'untitled'}: {feed.length} items"]
    for item in feed.items:
        lines += ["", item.title or "untitled", *filter(None, (item.published, item.link, item.summary))]
    return "\n".join(lines)


def query_json(data: str, path: str) -> str:
    """What *path* leads to in *data*, as JSON; with ``[*]``, a list of all. Raises `ToolFailed`."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ToolFailed(f"data: not JSON: {error}") from error
    steps = list(_steps(path))
    found: list[Any] = [value]
    for number, step in enumerate(steps, start=1):
        found = [inner for outer in found for inner in _follow(outer, step, number)]
        if len(found) > MOST_FOUND:
            raise ToolFailed(f"path: leads to more than {MOST_FOUND} values")
    many = any(step is None for step in steps)
    return msgspec.json.encode(found if many else found[0]).decode()


def _steps(path: str) -> Iterator[str | int | None]:
    """Names, indexes, and None for ``[*]``."""
    at, count = (1 if path.startswith("$") else 0), 0
    if at == 0 and path and path[0] not in ".[":
        path = f".{path}"
    while at < len(path):
        step = _STEP.match(path, at)
        count += 1
        if step is None or count > MOST_STEPS:
            said = (
                f"is not understood at {path[at : at + 20]!r}" if step is None else f"has more than {MOST_STEPS} steps"
            )
            raise ToolFailed(f'path: {said}; it is written as $.a[0]["b c"][*]')
        at = step.end()
        if step["index"] is not None:
            yield int(step["index"])
        elif step["all"] is not None:
            yield None
        else:
            yield step["name"] if step["name"] is not None else step["quoted"]


def _follow(value: Any, step: str | int | None, number: int) -> list[Any]:
    match value, step:
        case dict(), None:
            return list(value.values())
        case list(), None:
            return value
        case dict(), str() if step in value:
            return [value[step]]
        case list(), int() if -len(value) <= step < len(value):
            return [value[step]]
        case dict(), str():
            raise ToolFailed(f"path: step {number}: there is no {step!r}; there are: {', '.join(value)[:300]}")
        case list(), int():
            raise ToolFailed(f"path: step {number}: there is no [{step}]; the list has {len(value)}")
        case _:
            kind = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a plain value"
            raise ToolFailed(f"path: step {number}: what is there is {kind}")
