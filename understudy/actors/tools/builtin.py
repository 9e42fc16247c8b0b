"""The tools every node has: the clock, a calculator, a guarded fetch."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import trio
from msgspec import Meta

from understudy.actors.outbound.charset import charset_of
from understudy.actors.outbound.guarded import Fetched, GuardedClient, OutboundError
from understudy.actors.outbound.readable import readable
from understudy.actors.tools.arithmetic import MAX_LENGTH, BadExpression, calculate
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.tool import Arguments, Passing, Tool, ToolFailed

FETCH_LIMIT = 1_048_576
FETCH_SECONDS = 10.0
KEEP_SECONDS = 60.0
"""For so long a page is answered from before: a model that asks again in the same minute has lost its place."""
_TEXT = re.compile(r"text/|application/(?:json|xml|javascript|x-javascript|x-ndjson|yaml|toml)\b|[^;]*\+(?:json|xml)\b")


class DatetimeNow(Arguments, frozen=True):
    """Arguments of ``datetime_now``."""

    timezone: (
        Annotated[str, Meta(max_length=64, description="IANA name such as Europe/Berlin; default: yours")] | None
    ) = None


class Calculator(Arguments, frozen=True):
    """Arguments of ``calculator``."""

    expression: Annotated[
        str, Meta(min_length=1, max_length=MAX_LENGTH, description="for example (17 * 3) / 4 or sqrt(2) ** 5")
    ]


class HttpGet(Arguments, frozen=True):
    """Arguments of ``http_get``."""

    url: Annotated[str, Meta(min_length=1, max_length=2048, description="an http or https URL")]


def builtin_tools(outbound: GuardedClient, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> list[Tool]:
    """The tools, on this client and this clock (UTC, aware)."""
    reading = trio.CapacityLimiter(2)

    async def datetime_now(arguments: DatetimeNow, context: ToolContext) -> str:
        name = arguments.timezone or context.timezone
        try:
            zone = UTC if name == "UTC" else ZoneInfo(name)  # UTC needs no time zone database
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ToolFailed(f"there is no time zone {name!r}; use an IANA name such as Europe/Berlin") from error
        local = now().astimezone(zone)
        return f"{local.isoformat(timespec='seconds')} ({local:%A}, {name})"

    async def calculator(arguments: Calculator, context: ToolContext) -> str:
        del context
        try:
            return calculate(arguments.expression)
        except BadExpression as error:
            raise ToolFailed(str(error)) from error

    async def http_get(arguments: HttpGet, context: ToolContext) -> str:
        del context
        try:
            answer = await outbound.fetch(arguments.url, max_bytes=FETCH_LIMIT, timeout=FETCH_SECONDS)
        except OutboundError as error:
            raise ToolFailed(str(error)) from error
        # A megabyte of markup takes a second; one that takes long keeps its thread and its place, and nobody else.
        page = await trio.to_thread.run_sync(_page, answer, limiter=reading, abandon_on_cancel=True)
        return page if answer.status < 400 else Passing(page)

    return [
        Tool("datetime_now", "The present date and time, with weekday.", DatetimeNow, datetime_now),
        Tool(
            "calculator",
            "Calculate an arithmetic expression exactly: + - * / // % **, sqrt, exp, ln, log, round, min, max, pi …",
            Calculator,
            calculator,
        ),
        Tool(
            "http_get",
            "Fetch a public web page or API by GET and return its text (at most 1 MB; private addresses are refused).",
            HttpGet,
            http_get,
            timeout=FETCH_SECONDS + 5,
            keep=KEEP_SECONDS,
        ),
    ]


def _page(answer: Fetched) -> str:
    """Status, origin and text of a fetched page. Blocks. Raises `ToolFailed` for what is not text."""
    kind = answer.headers.get("content-type", "")
    if answer.body and kind and not _TEXT.match(kind.lower()):
        raise ToolFailed(f"{answer.url} is {kind.partition(';')[0]}, not text")
    if b"\0" in answer.body[:4096]:
        raise ToolFailed(f"{answer.url} is binary, not text")
    text = answer.body.decode(charset_of(kind) or "utf-8", "replace")
    if kind.lower().startswith(("text/html", "application/xhtml")):
        text = readable(text)
    note = "\n[cut at 1 MB]" if answer.truncated else ""
    return f"HTTP {answer.status} from {answer.url}\n\n{text}{note}"
