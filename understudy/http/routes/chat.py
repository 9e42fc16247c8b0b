"""`/agent/chat` and `/agent/chat/stream`: a message to an agent, and its answer whole or as it comes."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import attrs
from quart import Blueprint

from understudy.actors.session.messages import (
    DIRECTORY,
    ResumeStream,
    SessionKey,
    StartTurn,
    TurnStarted,
    session_address,
)
from understudy.actors.webhooks.messages import WEBHOOKS, CheckCallback
from understudy.http import schemas
from understudy.http.access import REPLAYED, idempotency_key, member
from understudy.http.decode import body
from understudy.http.errors import ApiError, invalid
from understudy.http.events import TERMINAL, last_event_id, show_turn
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, StreamReply, json
from understudy.http.request import ApiRequest, this_request
from understudy.http.sse import event_stream, frame

routes = Blueprint("chat", __name__)

PATIENCE = 15.0
"""Seconds for a turn to be found while the database is slow."""

CUT = "The stream ended before the turn did; read the session to see what became of it"

_EXAMPLE = {"message": "What time is it in Lisbon?", "agentId": "chad"}
_USAGE = {"promptTokens": 812, "completionTokens": 64, "totalTokens": 876}
_HEADERS = ("X-Workspace-Id", "X-Idempotency-Key", "traceparent")
_ERRORS = (
    "FORBIDDEN",
    "MODEL_RESTRICTED",
    "NOT_FOUND",
    "CONFLICT",
    "RATE_LIMIT",
    "QUOTA_EXCEEDED",
    "TOKEN_BUDGET_EXCEEDED",
    "TURN_BUDGET_EXCEEDED",
    "CONTEXT_TOO_LARGE",
    "AGENT_PAUSED",
    "PROVIDER_ERROR",
    "CIRCUIT_OPEN",
    "TIMEOUT",
)


@routes.post("/agent/chat")
@operation(
    "chat",
    Auth.WORKSPACE,
    body=schemas.ChatRequest,
    replies={200: schemas.ChatReply},
    headers=_HEADERS,
    errors=_ERRORS,
    example=_EXAMPLE,
    reply_example={
        "content": "It is noon.",
        "sessionId": "ses_71ab",
        "toolsUsed": ["datetime_now"],
        "usage": _USAGE,
        "agentId": "chad",
    },
)
async def chat() -> Reply:
    """Send a message and wait for the whole answer.

    With `X-Idempotency-Key` the same request sent again gets the same answer, or waits for the one still running; the
    agent does not run twice. `onBusy` says what to do when the session is in the middle of another turn. With
    `webhookUrl` the answer is also sent there when it is ready, also when the client has left by then; a stream has no
    use for it. While somebody is asked for consent to a tool call, the time that the request may take stands still.
    """
    request = this_request()
    caller = await member(request, also="chat")
    uid, workspace_id = caller.uid, caller.workspace_id
    given = body(request, schemas.ChatRequest)
    with request.on_behalf():
        if given.webhook_url is not None:
            await request.node.ask(WEBHOOKS, CheckCallback(given.webhook_url))
        started = await _start(request, given, uid, workspace_id, callback=given.webhook_url)
    ending = await _ending(request, started)
    if ending["type"] == "error":
        data = ending["data"]
        raise ApiError(
            str(data.get("code", "INTERNAL")),
            str(data.get("message", "The turn failed")),
            retry_after=data.get("retryAfter"),
        )
    headers = (REPLAYED,) if started.replayed else ()
    return json(_reply(ending["data"], given), headers=headers)


@routes.post("/agent/chat/stream")
@operation(
    "chatStream",
    Auth.WORKSPACE,
    body=schemas.ChatRequest,
    replies={200: None},
    media_type="text/event-stream",
    headers=(*_HEADERS, "Last-Event-ID"),
    errors=_ERRORS,
    example=_EXAMPLE,
    reply_example='id: ses_71ab:1\nevent: session_resolved\ndata: {"sessionId":"ses_71ab","isNew":true}\n\n',
)
async def chat_stream() -> StreamReply:
    """Send a message and read the answer as it comes.

    Seven events: `session_resolved`, `content`, `tool_call`, `tool_call_complete`, `tool_result`, and at the end
    `done` or `error`. Three more tell what holds a turn up: `approval_requested` and `approval_decided`, for calls that
    need somebody's consent, and `compacted`, when a summary took the place of the conversation's beginning. Each has an
    id: a client that lost its connection sends the last one as `Last-Event-ID` (the body is then not looked at), and
    gets the rest of that turn.
    """
    request = this_request()
    caller = await member(request, also="chat")
    uid, workspace_id = caller.uid, caller.workspace_id
    request.readers.check(uid)
    with request.on_behalf():
        if (seen := last_event_id(request)) is not None:
            session_id, seq = seen
            started = await request.node.ask(
                DIRECTORY, ResumeStream(uid, workspace_id, session_id, seq), timeout=PATIENCE
            )
            # From one before, so that it is seen when the event they have is the turn's last.
            started, skip = attrs.evolve(started, after=max(0, seq - 1)), seq
        else:
            given = body(request, schemas.ChatRequest)
            started = await _start(request, given, uid, workspace_id)
            skip = started.after
    address = session_address(started.session_id)
    reply = event_stream(
        lambda: request.node.subscribe(address, after=started.after),
        show_turn(started.session_id, started.turn_id, skip),
        request.draining,
        ping_every=request.settings.ping_every,
        ends_by_itself=True,
        cut=frame("error", {"message": CUT, "code": "INTERRUPTED"}),
    )
    reply = request.readers.counted(uid, reply)
    return attrs.evolve(reply, headers=(*reply.headers, REPLAYED)) if started.replayed else reply


async def _start(
    request: ApiRequest, given: schemas.ChatRequest, uid: str, workspace_id: str, *, callback: str | None = None
) -> TurnStarted:
    if not given.message.strip():
        raise invalid("message", "too_short", "message: there is nothing in it but white space")
    request.log_fields = {"uid": uid, "workspace": workspace_id, "agent": given.agent_id}
    turn = StartTurn(
        SessionKey(workspace_id, uid, given.agent_id, given.surface, given.surface_id),
        given.message,
        given.on_busy,
        idempotency_key(request, uid),
        # Whose answer is sent elsewhere is awaited there, whether or not anybody reads it here.
        request.settings.stream_grace if callback is None else None,
        callback=callback,
    )
    # As long as the request may take: behind another turn it waits for that one's end. With the database away the
    # session itself refuses, much sooner.
    return await request.node.ask(DIRECTORY, turn, timeout=request.settings.request_timeout)


async def _ending(request: ApiRequest, started: TurnStarted) -> Mapping[str, Any]:
    """Wait for the turn's last event. The time that people think about its calls does not count."""
    asked: set[str] = set()
    async with request.node.subscribe(session_address(started.session_id), after=started.after) as events:
        with ExitStack() as held:
            async for item in events:
                event = getattr(item, "event", None)
                if event is None or event.turn_id != started.turn_id:
                    continue
                if event.type in TERMINAL:
                    return {"type": event.type, "data": event.data}
                if event.type == "approval_requested":
                    if not asked:
                        held.enter_context(request.hold())
                    asked.add(event.data["requestId"])
                elif asked and event.type == "approval_decided":
                    asked.discard(event.data["requestId"])
                elif event.type in {"tool_result", "content"}:
                    asked.clear()  # calls run, or the model goes on, when nobody is asked any more
                if not asked:
                    held.close()
    raise ApiError("INTERRUPTED", CUT)


def _reply(data: Mapping[str, Any], given: schemas.ChatRequest) -> Mapping[str, Any]:
    known = {key: data[key] for key in ("content", "sessionId", "toolsUsed", "usage") if key in data}
    extra = {key: data[key] for key in ("model", "finishReason", "durationMs") if key in data}
    return {**known, "agentId": given.agent_id, **extra}
