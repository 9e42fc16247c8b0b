"""`/audit`: who did what. For the holders of internal keys, and for a workspace's owner and admins about it."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from quart import Blueprint

from understudy.actors.audit.messages import (
    AUDIT,
    AuditEnd,
    AuditFilter,
    AuditLine,
    ReadAudit,
    VerifyAudit,
    WalkAudit,
)
from understudy.actors.identity.messages import KeyScope
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import examples, schemas_admin
from understudy.http.access import member, operator
from understudy.http.audit_tail import AuditTail
from understudy.http.csv import row
from understudy.http.decode import query
from understudy.http.errors import invalid
from understudy.http.node import Node
from understudy.http.operation import Auth, operation
from understudy.http.paging import next_link
from understudy.http.replies import Reply, StreamReply, encode, json
from understudy.http.request import ApiRequest, this_request
from understudy.http.sse import Frame, event_stream, frame

routes = Blueprint("audit", __name__, url_prefix="/audit")

PATIENCE = 15.0
"""Seconds for a page while the database is slow."""
VERIFY_PATIENCE = 60.0
"""Seconds for every line of the log to be read."""
AT_ONCE = 1000
"""Lines of an export that are in memory at a time."""

_CSV = (
    (b"content-type", b"text/csv; charset=utf-8"),
    (b"content-disposition", b'attachment; filename="audit.csv"'),
    (b"cache-control", b"no-store"),
)
_COLUMNS = (
    "position", "id", "event", "severity", "timestamp", "uid", "workspaceId", "agentId", "sessionId", "requestId",
    "metadata", "hash",
)  # fmt: skip
_HEADERS = ("X-Workspace-Id",)


@routes.get("")
@operation(
    "readAudit",
    Auth.KEY_OR_JWT,
    scope=KeyScope.AUDIT,
    query=schemas_admin.AuditPageQuery,
    replies={200: schemas_admin.AuditPage},
    reply_example={"entries": [examples.AUDIT_LINE], "total": 1, "limit": 100, "offset": 0},
    headers=_HEADERS,
    errors=("RATE_LIMIT",),
)
async def read() -> Reply:
    """Read the audit log, newest lines first.

    With an internal key all of it; with an access token what was done in the workspace of `X-Workspace-Id`, whose owner
    or admin the caller must be.
    """
    request = this_request()
    asked = query(request, schemas_admin.AuditPageQuery)
    wanted, _ = await _wanted(request, asked)
    page = await request.ask(AUDIT, ReadAudit(wanted, asked.limit, asked.offset))
    entries = [_entry(line) for line in page.lines]
    reply = schemas_admin.AuditPage(entries=entries, total=page.total, limit=asked.limit, offset=asked.offset)
    return json(reply, headers=next_link(request, asked, page.total))


@routes.get("/verify")
@operation(
    "verifyAudit",
    Auth.KEY,
    scope=KeyScope.AUDIT,
    replies={200: schemas_admin.AuditVerdict},
    reply_example={"valid": True, "count": 71, "firstBroken": None},
)
async def verify() -> Reply:
    """Check that no line of the audit log was changed or taken out.

    Each line's seal covers the one before it; the first that does not fit is named. Whoever can write to the database
    can also make a new chain: keep a `hash` somewhere else, and compare.
    """
    request = this_request()
    await operator(request, KeyScope.AUDIT)
    found = await request.ask(AUDIT, VerifyAudit(), VERIFY_PATIENCE)
    broken = None
    if found.broken_at is not None:
        line = found.broken
        broken = schemas_admin.FirstBroken(
            position=found.broken_at,
            id=line.entry.id if line is not None else None,
            event=line.entry.event if line is not None else None,
        )
    return json(schemas_admin.AuditVerdict(valid=broken is None, count=found.entries, first_broken=broken))


@routes.get("/export.csv")
@operation(
    "exportAudit",
    Auth.KEY_OR_JWT,
    scope=KeyScope.AUDIT,
    query=schemas_admin.AuditQuery,
    replies={200: None},
    media_type="text/csv",
    headers=_HEADERS,
    errors=("RATE_LIMIT",),
)
async def export() -> StreamReply:
    """Download the audit log as CSV (RFC 4180), oldest lines first.

    As far as it reaches now; who may read what is as with `GET /audit`. A value that a spreadsheet would take for a
    formula has an apostrophe before it.
    """
    request = this_request()
    wanted, _ = await _wanted(request, query(request, schemas_admin.AuditQuery))
    end = await request.ask(AUDIT, AuditEnd())

    @asynccontextmanager
    async def source() -> AsyncIterator[AsyncIterator[bytes]]:
        async with aclosing(_lines(request.node, wanted, end)) as lines:
            yield lines

    return StreamReply(source, _CSV)


@routes.get("/stream")
@operation(
    "streamAudit",
    Auth.KEY_OR_JWT,
    scope=KeyScope.AUDIT,
    query=schemas_admin.AuditStreamQuery,
    replies={200: None},
    media_type="text/event-stream",
    headers=(*_HEADERS, "Last-Event-ID"),
    errors=("RATE_LIMIT",),
)
async def stream() -> StreamReply:
    """Read lines of the audit log as they are written, by whichever node.

    Each is an `audit` event whose id is its place; with `Last-Event-ID` it goes on behind that place, else with what
    comes from now on. With `follow=false` it is what there is, and ends. Who may read what is as with `GET /audit`; who
    no longer may finds the stream at its end.
    """
    request = this_request()
    asked = query(request, schemas_admin.AuditStreamQuery)
    wanted, uid = await _wanted(request, asked)
    end = await request.ask(AUDIT, AuditEnd())
    after = _seen(request)
    if after is not None and after > end:
        raise invalid("Last-Event-ID", "in_the_future", f"There is no line {after} yet: the newest is {end}")
    if after is None:
        after = end if asked.follow else 0
    until = None if asked.follow else end
    reply = event_stream(
        lambda: AuditTail(request.node, wanted, after, lambda: _wanted(request, asked), until),
        lambda line: Frame(frame("audit", _entry(line), str(line.position))),
        request.draining,
        ping_every=request.settings.ping_every,
        ends_by_itself=not asked.follow,
    )
    return reply if uid is None else request.readers.counted(uid, reply)


def _seen(request: ApiRequest) -> int | None:
    """The place in ``Last-Event-ID``; None without the header."""
    given = request.headers.get("Last-Event-ID")
    if not given:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise invalid("Last-Event-ID", "invalid_value", "Last-Event-ID is no place in the audit log")
    return int(given)


async def _lines(node: Node, wanted: AuditFilter, end: int) -> AsyncGenerator[bytes, None]:
    """The rows, a page of them at a time, up to the place *end*."""
    yield row(_COLUMNS)
    after = 0
    while after < end:
        page = await node.ask(AUDIT, WalkAudit(wanted, after, AT_ONCE), timeout=PATIENCE)
        rows = [row(_values(line)) for line in page if line.position <= end]
        if rows:
            yield b"".join(rows)
        if len(rows) < AT_ONCE:
            return
        after = page[-1].position


async def _wanted(request: ApiRequest, asked: schemas_admin.AuditQuery) -> tuple[AuditFilter, str | None]:
    """What the caller may read of what they asked for, and which user that is, if one.

    Raises `Unauthenticated` or `Forbidden`.
    """
    workspace_id, uid = asked.workspace_id, None
    if "X-Api-Key" in request.headers:
        await operator(request, KeyScope.AUDIT)
    else:
        caller = await member(request, WorkspaceRole.ADMIN)
        own, uid = caller.workspace_id, caller.uid
        # One that they named beside it narrows it further: there is nothing in both.
        workspace_id = own if workspace_id in {None, own} else ""
    return AuditFilter(asked.event, asked.since, asked.until, workspace_id, asked.uid), uid


def _entry(line: AuditLine) -> schemas_admin.AuditEntry:
    entry = line.entry
    return schemas_admin.AuditEntry(
        position=line.position,
        id=entry.id,
        event=entry.event,
        severity=entry.severity,
        timestamp=entry.created_at,
        uid=entry.uid,
        workspace_id=entry.workspace_id,
        agent_id=entry.agent_id,
        session_id=entry.session_id,
        request_id=entry.request_id,
        metadata=dict(entry.metadata),
        hash=line.hash.hex(),
    )


def _values(line: AuditLine) -> tuple[Any, ...]:
    entry = line.entry
    return (
        line.position,
        entry.id,
        entry.event,
        entry.severity,
        entry.created_at.isoformat().replace("+00:00", "Z"),
        entry.uid,
        entry.workspace_id,
        entry.agent_id,
        entry.session_id,
        entry.request_id,
        encode(dict(entry.metadata)).decode(),
        line.hash.hex(),
    )
