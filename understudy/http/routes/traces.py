"""`/traces`: how each turn went."""

from typing import Any

from quart import Blueprint

from understudy.actors.costs.prices import in_dollars
from understudy.actors.traces.messages import TRACES, GetTrace, ListTraces, Trace, TraceFilter, TurnStatus
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import schemas_money
from understudy.http.access import member
from understudy.http.decode import query
from understudy.http.errors import invalid
from understudy.http.operation import Auth, operation
from understudy.http.paging import next_link
from understudy.http.replies import Reply, json
from understudy.http.request import this_request
from understudy.http.schemas_money import TraceStatus

routes = Blueprint("traces", __name__, url_prefix="/traces")

_SHOWN = {
    TurnStatus.COMPLETED: TraceStatus.OK,
    TurnStatus.FAILED: TraceStatus.ERROR,
    TurnStatus.CANCELLED: TraceStatus.CANCELLED,
    TurnStatus.INTERRUPTED: TraceStatus.INTERRUPTED,
}
_STORED = {shown: status for status, shown in _SHOWN.items()}
_EXAMPLE = {
    "id": "trc_8",
    "agentId": "chad",
    "sessionId": "ses_71ab",
    "turnId": "trn_4",
    "uid": "usr_9kq2",
    "status": "ok",
    "errorCode": None,
    "startedAt": "2026-03-02T09:10:00Z",
    "durationMs": 1840,
    "rounds": 1,
    "toolCallCount": 0,
    "usage": {"promptTokens": 812, "completionTokens": 64, "totalTokens": 876},
    "costUsd": 0.0021,
    "unpriced": False,
}
_WHOLE_EXAMPLE = {
    **_EXAMPLE,
    "requestId": "3f0c",
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
    "parentId": "00f067aa0ba902b7",
    "truncatedRounds": False,
    "spans": [
        {"id": "1", "kind": "resolve_session", "offsetMs": 0.1, "durationMs": 4.2, "attributes": {"isNew": False}},
        {"id": "2", "kind": "context", "offsetMs": 5.0, "durationMs": 0.3, "attributes": {"messages": 4, "tools": 3}},
        {
            "id": "3",
            "kind": "inference",
            "offsetMs": 5.4,
            "durationMs": 1830.2,
            "attributes": {"provider": "claude", "model": "claude-sonnet-4-5", "attempts": 1, "costMicros": 2100},
        },
    ],
}


@routes.get("")
@operation(
    "listTraces",
    Auth.WORKSPACE,
    query=schemas_money.TracesQuery,
    replies={200: schemas_money.TraceList},
    reply_example={"traces": [_EXAMPLE], "total": 1, "limit": 20, "offset": 0},
    headers=("X-Workspace-Id",),
    errors=("FORBIDDEN", "RATE_LIMIT"),
)
async def list_traces() -> Reply:
    """List how turns went, newest first.

    One trace for each turn; they are kept for 30 days. The roles admin and owner see the whole workspace's, others
    their own.
    """
    request = this_request()
    caller = await member(request, WorkspaceRole.VIEWER)
    asked = query(request, schemas_money.TracesQuery)
    if asked.since is not None and asked.until is not None and asked.until < asked.since:
        raise invalid("until", "out_of_order", "until: it is before since")
    wanted = TraceFilter(
        caller.workspace_id,
        uid=caller.whose,
        agent_id=asked.agent_id,
        session_id=asked.session_id,
        status=_STORED[asked.status] if asked.status is not None else None,
        since=asked.since,
        until=asked.until,
    )
    page = await request.ask(TRACES, ListTraces(wanted, asked.limit, asked.offset))
    shown = schemas_money.TraceList(
        traces=[schemas_money.TraceSummary(**_summary(trace)) for trace in page.traces],
        total=page.total,
        limit=asked.limit,
        offset=asked.offset,
    )
    return json(shown, headers=next_link(request, asked, page.total))


@routes.get("/<id>")
@operation(
    "getTrace",
    Auth.WORKSPACE,
    replies={200: schemas_money.Trace},
    reply_example=_WHOLE_EXAMPLE,
    headers=("X-Workspace-Id",),
    errors=("FORBIDDEN", "NOT_FOUND", "RATE_LIMIT"),
)
async def get_trace(id: str) -> Reply:
    """Read how a turn went, part by part.

    Arguments of tools are cut at 4 KB, and what is named like a secret is not shown.
    """
    request = this_request()
    caller = await member(request, WorkspaceRole.VIEWER)
    trace = await request.ask(TRACES, GetTrace(caller.workspace_id, id, caller.whose))
    shown = schemas_money.Trace(
        **_summary(trace),
        request_id=trace.request_id,
        trace_id=trace.trace_id,
        parent_id=trace.parent_id,
        truncated_rounds=any(span.attributes.get("truncatedRounds") for span in trace.spans),
        spans=[
            schemas_money.Span(
                id=str(number),
                kind=span.kind,
                offset_ms=span.offset_ms,
                duration_ms=span.duration_ms,
                attributes=dict(span.attributes),
            )
            for number, span in enumerate(trace.spans, start=1)
        ],
    )
    return json(shown)


def _summary(trace: Trace) -> dict[str, Any]:
    return {
        "id": trace.id,
        "agent_id": trace.agent_id,
        "session_id": trace.session_id,
        "turn_id": trace.turn_id,
        "uid": trace.uid,
        "status": _SHOWN[trace.status],
        "error_code": trace.error_code,
        "started_at": trace.started_at,
        "duration_ms": round((trace.finished_at - trace.started_at).total_seconds() * 1000),
        "rounds": trace.rounds,
        "tool_call_count": trace.tool_calls,
        "usage": schemas_money.TraceUsage(
            prompt_tokens=trace.usage.prompt_tokens,
            completion_tokens=trace.usage.completion_tokens,
            total_tokens=trace.usage.total_tokens,
        ),
        "cost_usd": in_dollars(trace.cost),
        "unpriced": trace.unpriced,
    }
