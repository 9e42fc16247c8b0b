"""`/heartbeat`: what is looked at time and again, and whom it wakes."""

from typing import Any

from msgspec import UNSET, structs
from quart import Blueprint

from understudy.actors.heartbeats.messages import (
    HEARTBEATS,
    ChangeHeartbeat,
    CreateHeartbeat,
    DeleteHeartbeat,
    Editor,
    HeartbeatDocument,
    HeartbeatRun,
    HeartbeatView,
    ListHeartbeats,
    ListRuns,
    shown_headers,
)
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import schemas_heartbeats as shapes
from understudy.http.access import member, once
from understudy.http.decode import body, query
from understudy.http.errors import invalid
from understudy.http.operation import Auth, operation
from understudy.http.paging import next_link
from understudy.http.replies import Reply, json
from understudy.http.request import ApiRequest, this_request

routes = Blueprint("heartbeat", __name__, url_prefix="/heartbeat")

_NEW = {
    "name": "Release news",
    "type": "rss",
    "url": "https://news.example.org/feed.xml",
    "intervalMinutes": 15,
    "agentId": "chad",
    "prompt": "Tell me in a sentence what is new:\n{{items}}",
    "keywords": ["release"],
}
_LAST = {
    "id": "hbr_71ab",
    "status": "triggered",
    "at": "2026-03-02T09:15:01Z",
    "itemCount": 2,
    "error": None,
    "sessionId": "ses_4t",
}
_SHOWN = {
    **_NEW,
    "id": "hbt_5qd0b1aX",
    "workspaceId": "ws_5",
    "createdBy": "usr_9kq2",
    "feeds": ["https://news.example.org/feed.xml"],
    "intervalMinutes": 15,
    "intervalSeconds": 900,
    "maxItems": 10,
    "fireOnFirstRun": False,
    "method": "GET",
    "headers": {},
    "expectedStatus": None,
    "contains": None,
    "select": None,
    "timeoutMs": 10000,
    "trigger": "on_change",
    "enabled": True,
    "disabledReason": None,
    "errors": 0,
    "lastRun": _LAST,
    "nextRunAt": "2026-03-02T09:30:00Z",
    "createdAt": "2026-03-01T08:00:00Z",
    "updatedAt": "2026-03-01T08:00:00Z",
}
_RUN = {
    "id": "hbr_71ab",
    "status": "triggered",
    "dueAt": "2026-03-02T09:15:00Z",
    "startedAt": "2026-03-02T09:15:00Z",
    "durationMs": 930,
    "httpStatus": 200,
    "itemCount": 2,
    "error": None,
    "sessionId": "ses_4t",
    "attempts": 1,
}


@routes.get("")
@operation(
    "listHeartbeats",
    Auth.WORKSPACE,
    replies={200: shapes.HeartbeatList},
    headers=("X-Workspace-Id",),
    errors=("FORBIDDEN", "RATE_LIMIT"),
    reply_example={"heartbeats": [_SHOWN], "total": 1},
)
async def list_heartbeats() -> Reply:
    """List the heartbeats of the workspace, each with how its last run went."""
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    found = await request.ask(HEARTBEATS, ListHeartbeats(workspace_id))
    return json(shapes.HeartbeatList(heartbeats=[_shown(view) for view in found], total=len(found)))


@routes.post("")
@operation(
    "createHeartbeat",
    Auth.WORKSPACE,
    body=shapes.NewHeartbeat,
    replies={201: shapes.Heartbeat},
    headers=("X-Workspace-Id", "X-Idempotency-Key"),
    errors=("FORBIDDEN", "NOT_FOUND", "CONFLICT", "RATE_LIMIT"),
    example=_NEW,
    reply_example={**_SHOWN, "lastRun": None},
)
async def create_heartbeat() -> Reply:
    """Have something looked at, and an agent woken when there is a reason.

    It is looked at once now: what is there already wakes nobody. Afterwards, new items of a feed (`rss`) or a changed,
    failing or recovered page (`http`) wake the agent, as you, in a conversation of the heartbeat's own, on your
    workspace's bill. `prompt` may hold `{{items}}`, `{{status}}`, `{{url}}` and `{{diff}}`. A workspace may have 100.
    """
    request = this_request()
    editor = await _editor(request)
    given = body(request, shapes.NewHeartbeat)
    document, interval = _document(given), _interval(given.interval_minutes, given.interval_seconds)
    if interval is None:
        raise invalid("intervalMinutes", "missing", "intervalMinutes: is required")

    async def do() -> Reply:
        made = await request.ask(HEARTBEATS, CreateHeartbeat(editor, document, interval, enabled=given.enabled))
        return json(_shown(made), 201, ((b"location", f"/heartbeat/{made.heartbeat.id}".encode()),))

    return await once(request, editor.uid, do)


@routes.get("/<id>/runs")
@operation(
    "listHeartbeatRuns",
    Auth.WORKSPACE,
    query=shapes.RunsQuery,
    replies={200: shapes.RunList},
    headers=("X-Workspace-Id",),
    errors=("FORBIDDEN", "NOT_FOUND", "RATE_LIMIT"),
    reply_example={"runs": [_RUN], "total": 1, "limit": 20, "offset": 0},
)
async def list_runs(id: str) -> Reply:
    """List what became of each due time, newest first.

    `ok`: looked, no reason to wake anybody. `unchanged`: nothing is new. `triggered`: the agent was woken, in the
    session that is named. `skipped`: the run before it had not ended. The newest 500 are kept, for 30 days.
    """
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    asked = query(request, shapes.RunsQuery)
    page = await request.ask(HEARTBEATS, ListRuns(workspace_id, id, asked.limit, asked.offset))
    shown = shapes.RunList(
        runs=[_run(run) for run in page.runs], total=page.total, limit=asked.limit, offset=asked.offset
    )
    return json(shown, headers=next_link(request, asked, page.total))


@routes.patch("/<id>")
@operation(
    "changeHeartbeat",
    Auth.WORKSPACE,
    body=shapes.HeartbeatChange,
    replies={200: shapes.Heartbeat},
    headers=("X-Workspace-Id",),
    errors=("FORBIDDEN", "NOT_FOUND", "CONFLICT", "RATE_LIMIT"),
    example={"enabled": False},
    reply_example={**_SHOWN, "enabled": False, "nextRunAt": None},
)
async def change_heartbeat(id: str) -> Reply:
    """Change a heartbeat, or switch it on or off.

    Switched on again it is due at once, and its errors are forgotten. Only who made it may: it acts as them. Admins may
    rename it, change its interval and switch it on and off.
    """
    request = this_request()
    editor = await _editor(request)
    given = body(request, shapes.HeartbeatChange)
    fields = {name: value for name, value in structs.asdict(given).items() if value is not UNSET}
    minutes, seconds = fields.pop("interval_minutes", None), fields.pop("interval_seconds", None)
    enabled = fields.pop("enabled", None)
    if (urls := _urls(fields.pop("url", None), fields.pop("feeds", None))) is not None:
        fields["urls"] = urls
    if "keywords" in fields:
        fields["keywords"] = tuple(fields["keywords"])
    message = ChangeHeartbeat(editor, id, fields, _interval(minutes, seconds), enabled)
    return json(_shown(await request.ask(HEARTBEATS, message)))


@routes.delete("/<id>")
@operation(
    "deleteHeartbeat",
    Auth.WORKSPACE,
    replies={204: None},
    headers=("X-Workspace-Id",),
    errors=("FORBIDDEN", "NOT_FOUND", "RATE_LIMIT"),
)
async def delete_heartbeat(id: str) -> Reply:
    """Delete a heartbeat with its runs; one that goes on is stopped. Only who made it may, and admins."""
    request = this_request()
    editor = await _editor(request)
    await request.ask(HEARTBEATS, DeleteHeartbeat(editor, id))
    return Reply(204)


async def _editor(request: ApiRequest) -> Editor:
    """The caller, if they may run agents in the workspace."""
    caller = await member(request)
    return Editor(caller.workspace_id, caller.uid, request.id, admin=caller.view.administers)


def _document(given: shapes.NewHeartbeat) -> HeartbeatDocument:
    """The configuration, with its fields under their usual names."""
    if given.type is not None and given.source is not None and given.type is not given.source:
        raise invalid("source", "contradicts", "source: says something else than type")
    kind = given.type or given.source
    if kind is None:
        raise invalid("type", "missing", "type: is required")
    urls = _urls(given.url, given.feeds)
    if urls is None:
        raise invalid("url", "missing", "url: is required")
    fields: dict[str, Any] = structs.asdict(given)
    named = {name: fields[name] for name in HeartbeatDocument.__struct_fields__ if name in fields}
    return HeartbeatDocument(**{**named, "type": kind, "urls": urls, "keywords": tuple(given.keywords)})


def _urls(url: str | None, feeds: list[str] | None) -> tuple[str, ...] | None:
    if feeds is None:
        return None if url is None else (url,)
    if url is not None and url not in feeds:
        raise invalid("feeds", "contradicts", "feeds: does not hold the url; give one of the two")
    return tuple(feeds)


def _interval(minutes: int | None, seconds: int | None) -> int | None:
    if minutes is not None and seconds is not None and minutes * 60 != seconds:
        raise invalid("intervalSeconds", "contradicts", "intervalSeconds: says something else than intervalMinutes")
    return minutes * 60 if minutes is not None else seconds


def _shown(view: HeartbeatView) -> shapes.Heartbeat:
    heartbeat, document, last = view.heartbeat, view.document, view.last_run
    fields = structs.asdict(document)
    urls = fields.pop("urls")
    return shapes.Heartbeat(
        **{**fields, "headers": shown_headers(document.headers), "keywords": list(document.keywords)},
        id=heartbeat.id,
        workspace_id=heartbeat.workspace_id,
        created_by=heartbeat.uid,
        url=urls[0],
        feeds=list(urls),
        interval_minutes=heartbeat.interval // 60 if heartbeat.interval % 60 == 0 else heartbeat.interval / 60,
        interval_seconds=heartbeat.interval,
        enabled=heartbeat.enabled,
        disabled_reason=heartbeat.disabled_reason,
        errors=heartbeat.errors,
        last_run=_last(last) if last is not None else None,
        next_run_at=heartbeat.next_run_at if heartbeat.enabled else None,
        created_at=heartbeat.created_at,
        updated_at=heartbeat.updated_at,
    )


def _last(run: HeartbeatRun) -> shapes.LastRun:
    at = run.finished_at or run.started_at
    return shapes.LastRun(
        id=run.id,
        status=run.status,
        at=at,
        item_count=run.item_count,
        error=run.error,
        session_id=run.session_id,
    )


def _run(run: HeartbeatRun) -> shapes.HeartbeatRun:
    took = None if run.finished_at is None else run.finished_at - run.started_at
    return shapes.HeartbeatRun(
        id=run.id,
        status=run.status,
        due_at=run.due_at,
        started_at=run.started_at,
        duration_ms=None if took is None else max(0, round(took.total_seconds() * 1000)),
        http_status=run.http_status,
        item_count=run.item_count,
        error=run.error,
        session_id=run.session_id,
        attempts=run.attempt,
    )
