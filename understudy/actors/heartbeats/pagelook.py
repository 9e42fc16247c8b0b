"""A look at a page: whether it is up, and whether it says what it said before."""

import hashlib
from enum import StrEnum

import attrs
import msgspec
import trio

from understudy.actors.heartbeats.document import HeartbeatDocument, Method, Trigger, shown_url
from understudy.actors.heartbeats.feedlook import validator
from understudy.actors.heartbeats.ports import Aside, Web
from understudy.actors.heartbeats.prompts import LONGEST_DIFF, PAGE_PROMPT, render
from understudy.actors.heartbeats.text import PageProblem, PageText, difference, head_text, page_text
from understudy.actors.heartbeats.verdict import BODY_LIMIT, LOOK_SECONDS, REDIRECTS, Verdict
from understudy.actors.outbound.guarded import Fetched, OutboundError
from understudy.storage.heartbeat_records import RunStatus
from understudy.storage.records import Json

PATIENCE = 2
"""Failures in a row that make an outage."""

_HEAD = ("etag", "last-modified", "content-length", "content-type")


class PageState(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What the last look found. ``watch`` says what was looked at: of anything else nothing is known.

    ``hash`` None: it was never seen up. ``alerted``: somebody was told that it is down, and not yet that it is back.
    """

    watch: str = ""
    hash: str | None = None
    text: str = ""
    etag: str | None = None
    last_modified: str | None = None
    failures: int = 0
    alerted: bool = False


@attrs.frozen
class Up:
    """It answered as it should. ``page`` None: as it was (304)."""

    http_status: int
    page: PageText | None = None
    etag: str | None = None
    last_modified: str | None = None
    difference: str = ""


@attrs.frozen
class Down:
    """It did not."""

    why: str
    http_status: int | None = None


class Event(StrEnum):
    """What somebody may be woken for."""

    CHANGED = "changed"
    DOWN = "down"
    RECOVERED = "back up"
    UP = "up"


async def look_at_page(document: HeartbeatDocument, stored: Json, *, web: Web, aside: Aside) -> Verdict:
    """Ask for the page once, within its time, and say what that means."""
    state = _state(stored, document)
    found = await _ask(document, state, web, aside)
    after, event = judge(document.trigger, state, found)
    verdict = Verdict(RunStatus.OK, state=msgspec.to_builtins(after), http_status=found.http_status)
    if event is not None:
        verdict = attrs.evolve(verdict, message=_message(document, event, found))
    if isinstance(found, Down):
        return attrs.evolve(verdict, status=RunStatus.ERROR, note=found.why, failed=True)
    unchanged = found.page is None or found.page.hash == state.hash
    return attrs.evolve(verdict, status=RunStatus.UNCHANGED if unchanged else RunStatus.OK)


def judge(trigger: Trigger, state: PageState, found: Up | Down) -> tuple[PageState, Event | None]:
    """What is known after this look, and what the agent is to be woken for, if anything.

    An outage is told once, at its second failure; its end is told once. A first look only says what there is.
    """
    if isinstance(found, Down):
        failures = state.failures + 1
        alert = failures >= PATIENCE and not state.alerted
        after = msgspec.structs.replace(state, failures=failures, alerted=state.alerted or alert)
        return after, Event.DOWN if alert else None
    after = msgspec.structs.replace(state, failures=0, alerted=False)
    if found.page is not None:
        after = msgspec.structs.replace(
            after,
            hash=found.page.hash,
            text=found.page.text,
            etag=found.etag,
            last_modified=found.last_modified,
        )
    if state.alerted:
        return after, Event.RECOVERED
    changed = found.page is not None and state.hash is not None and found.page.hash != state.hash
    if trigger is Trigger.ALWAYS:
        return after, Event.CHANGED if changed else Event.UP
    return after, Event.CHANGED if changed and trigger is Trigger.ON_CHANGE else None


async def _ask(document: HeartbeatDocument, state: PageState, web: Web, aside: Aside) -> Up | Down:
    headers = {name.lower(): value for name, value in document.headers.items()}
    if state.hash is not None and state.etag is not None:
        headers["if-none-match"] = state.etag
    if state.hash is not None and state.last_modified is not None:
        headers["if-modified-since"] = state.last_modified
    try:
        answer = await web.fetch(
            document.urls[0],
            method=document.method.value,
            headers=headers,
            max_bytes=BODY_LIMIT,
            timeout=min(document.timeout_ms / 1000, LOOK_SECONDS),
            max_redirects=REDIRECTS,
        )
    except OutboundError as error:
        return Down(str(error))
    if answer.status == 304 and state.hash is not None and document.expected_status != 304:
        return Up(304)
    if not _as_expected(answer.status, document.expected_status):
        return Down(f"HTTP {answer.status}", answer.status)
    try:
        page, changes = await _content(document, state, answer, aside)
    except PageProblem as problem:
        return Down(str(problem), answer.status)
    except trio.TooSlowError:
        return Down("it takes too long to read", answer.status)
    etag, modified = validator(answer.headers.get("etag")), validator(answer.headers.get("last-modified"))
    return Up(answer.status, page, etag, modified, changes)


def _as_expected(status: int, expected: int | None) -> bool:
    return status == expected if expected is not None else 200 <= status < 300


async def _content(
    document: HeartbeatDocument, state: PageState, answer: Fetched, aside: Aside
) -> tuple[PageText, str]:
    if document.method is Method.HEAD:
        return head_text([(name, answer.headers[name]) for name in _HEAD if name in answer.headers]), ""
    if answer.truncated and document.select is not None:
        raise PageProblem(f"it is larger than {BODY_LIMIT} bytes")

    def read() -> tuple[PageText, str]:
        kind = answer.headers.get("content-type", "")
        page = page_text(answer.body, kind, contains=document.contains, select=document.select)
        changed = state.hash is not None and page.hash != state.hash
        return page, difference(state.text, page.text, LONGEST_DIFF) if changed else ""

    return await aside(read)


def _message(document: HeartbeatDocument, event: Event, found: Up | Down) -> str:
    why = f" ({found.why})" if isinstance(found, Down) else ""
    values = {
        "status": f"{event.value}{why}",
        "url": shown_url(document.urls[0]),
        "diff": found.difference if isinstance(found, Up) else "",
    }
    return render(document.prompt or PAGE_PROMPT, values)


def _state(stored: Json, document: HeartbeatDocument) -> PageState:
    """What is known of this very page, asked for and read in this very way."""
    fields = ("urls", "method", "headers", "expected_status", "contains", "select")
    asked = [getattr(document, field) for field in fields]
    watch = hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()[:16]
    try:
        state = msgspec.convert(stored, PageState)
    except msgspec.ValidationError:
        state = PageState()
    return state if state.watch == watch else PageState(watch=watch)
