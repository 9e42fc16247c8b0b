"""`/sessions`: conversations, their messages, their events, and the way to stop one."""

from typing import Any

from msgspec import UNSET
from quart import Blueprint

from understudy.actors.session.messages import (
    DIRECTORY,
    AuthorizeSession,
    CancelTurn,
    GetSession,
    HandOff,
    ListSessions,
    Message,
    SearchMessages,
    Session,
    session_address,
)
from understudy.actors.workspaces.messages import WORKSPACES, ResolveWorkspace, WorkspaceRole, WorkspaceView
from understudy.http import examples, schemas, schemas_sessions
from understudy.http.access import once, signed_in, user
from understudy.http.decode import body, query
from understudy.http.errors import invalid
from understudy.http.events import event_id, last_event_id, show
from understudy.http.operation import Auth, operation
from understudy.http.paging import next_link
from understudy.http.replies import Reply, StreamReply, json
from understudy.http.request import ApiRequest, this_request
from understudy.http.sse import Nothing, event_stream

routes = Blueprint("sessions", __name__, url_prefix="/sessions")

CANCEL_PATIENCE = 15.0
"""Seconds for a turn to become quiet: its provider's connection closed, its end recorded."""


@routes.get("")
@operation(
    "listSessions",
    Auth.JWT,
    query=schemas_sessions.SessionsQuery,
    replies={200: schemas.SessionPage},
    reply_example=examples.SESSION_PAGE,
    errors=("FORBIDDEN", "RATE_LIMIT"),
)
async def list_sessions() -> Reply:
    """List your sessions, newest activity first.

    With `workspaceId` those of one workspace: everybody's if you are its owner or an admin, else your own.
    """
    request = this_request()
    principal = await user(request)
    asked = query(request, schemas_sessions.SessionsQuery)
    surface = asked.surface.value if asked.surface is not None else None
    whose: str | None = principal.uid
    if asked.workspace_id is not None:
        whose = (await _view(request, principal.uid, asked.workspace_id)).whose(principal.uid)
    page = await request.ask(
        DIRECTORY,
        ListSessions(
            whose,
            asked.status,
            asked.agent_id,
            surface,
            asked.limit,
            asked.offset,
            asked.workspace_id,
        ),
    )
    sessions = [schemas.Session(**session_fields(session)) for session in page.sessions]
    reply = schemas.SessionPage(sessions=sessions, total=page.total, limit=asked.limit, offset=asked.offset)
    return json(reply, headers=next_link(request, asked, page.total))


@routes.get("/search/messages")
@operation(
    "searchMessages",
    Auth.JWT,
    query=schemas_sessions.MessagesQuery,
    replies={200: schemas_sessions.FoundMessages},
    errors=("RATE_LIMIT",),
    reply_example={
        "results": [
            {
                "sessionId": "ses_71ab",
                "messageId": "msg_1",
                "workspaceId": "ws_5",
                "agentId": "chad",
                "role": "assistant",
                "snippet": "The <mark>invoice</mark> of Lisbon is due on Friday",
                "score": 0.5,
                "createdAt": "2026-03-02T09:09:58Z",
            }
        ]
    },
)
async def search_messages() -> Reply:
    """Search what was said in your sessions, archived ones too.

    A message is found when it has all the words, in whichever form (`invoices` finds `invoice`).
    """
    request = this_request()
    principal = await user(request)
    asked = query(request, schemas_sessions.MessagesQuery)
    found = await request.ask(DIRECTORY, SearchMessages(principal.uid, asked.q, asked.limit))
    results = [
        schemas_sessions.FoundMessage(
            session_id=hit.session_id,
            message_id=hit.message_id,
            workspace_id=hit.workspace_id,
            agent_id=hit.agent_id,
            role=hit.role.value,
            snippet=hit.snippet,
            score=round(hit.score, 6),
            created_at=hit.created_at,
        )
        for hit in found
    ]
    return json(schemas_sessions.FoundMessages(results=results))


@routes.get("/<id>")
@operation(
    "getSession",
    Auth.JWT,
    query=schemas_sessions.SessionQuery,
    replies={200: schemas.SessionDetail},
    reply_example=examples.SESSION_DETAIL,
    errors=("NOT_FOUND", "FORBIDDEN", "RATE_LIMIT"),
)
async def get_session(id: str) -> Reply:
    """Read a session with its newest messages.

    For older ones ask again with `before` and the id of the first you have. With `workspaceId` its owner and admins
    read anybody's session in that workspace; the audit log says so.
    """
    request = this_request()
    principal = await user(request)
    asked = query(request, schemas_sessions.SessionQuery)
    workspace_id = asked.workspace_id
    if workspace_id is not None and not (await _view(request, principal.uid, workspace_id)).administers:
        workspace_id = None
    detail = await request.ask(DIRECTORY, GetSession(principal.uid, id, asked.limit, asked.before, workspace_id))
    messages = [_message(message) for message in detail.messages]
    return json(
        schemas.SessionDetail(**session_fields(detail.session), messages=messages, running_turn=detail.running_turn)
    )


@routes.post("/<id>/handoff")
@operation(
    "handOffSession",
    Auth.JWT,
    body=schemas_sessions.HandOffRequest,
    replies={200: schemas.Session},
    reply_example={**examples.SESSION, "agentId": "researcher"},
    headers=("X-Idempotency-Key",),
    errors=("NOT_FOUND", "FORBIDDEN", "CONFLICT", "RATE_LIMIT"),
    example={"agentId": "researcher", "reason": "it is about sources"},
)
async def hand_off(id: str) -> Reply:
    """Give your session to another agent, who answers from the next message on.

    It keeps its id and its messages, and a system message says what happened; from now on it is the conversation with
    the new agent in the same place. Refused (409) when it is archived, in the middle of a turn, or when that agent has
    a conversation in this place already.
    """
    request = this_request()
    principal = await user(request)
    given = body(request, schemas_sessions.HandOffRequest)
    target = given.agent_id or given.target_agent_id
    if target is None:
        raise invalid("agentId", "missing", "agentId: is required")

    async def do() -> Reply:
        session = await request.ask(DIRECTORY, AuthorizeSession(principal.uid, id))
        workspace_id = session.key.workspace_id
        await request.ask(WORKSPACES, ResolveWorkspace(principal.uid, workspace_id, WorkspaceRole.MEMBER))
        request.tenant = workspace_id
        moved = await request.ask(DIRECTORY, HandOff(principal.uid, id, target, given.reason))
        return json(schemas.Session(**session_fields(moved)))

    return await once(request, principal.uid, do)


@routes.get("/<id>/events")
@operation(
    "sessionEvents",
    Auth.JWT,
    query=schemas_sessions.EventsQuery,
    replies={200: None},
    media_type="text/event-stream",
    headers=("Last-Event-ID",),
    errors=("NOT_FOUND", "RATE_LIMIT"),
)
async def session_events(id: str) -> StreamReply:
    """Read a session's events, from any one on.

    What has happened comes first, then what happens; with `follow=false` the stream ends with the newest. Come back
    with `Last-Event-ID`, or with `after` and a number.
    """
    session_id = id
    request = this_request()
    principal = await signed_in(request)
    request.readers.check(principal.uid)
    asked = query(request, schemas_sessions.EventsQuery)
    session = await request.ask(DIRECTORY, AuthorizeSession(principal.uid, session_id))
    after = asked.after
    if after is None:
        seen = last_event_id(request)
        if seen is not None and seen[0] != session_id:
            raise invalid("Last-Event-ID", "other_session", "Last-Event-ID is of another session")
        after = seen[1] if seen is not None else 0
    if after > session.last_seq:
        raise invalid("after", "in_the_future", f"There is no event {after} yet: the newest is {session.last_seq}")
    finished = not asked.follow and after == session.last_seq
    address = session_address(session_id)
    reply = event_stream(
        Nothing if finished else (lambda: request.node.subscribe(address, after=after)),
        show(session_id) if asked.follow else show(session_id, until=session.last_seq),
        request.draining,
        ping_every=request.settings.ping_every,
        ends_by_itself=not asked.follow,
    )
    return request.readers.counted(principal.uid, reply)


@routes.post("/<id>/cancel")
@operation(
    "cancelTurn",
    Auth.JWT,
    replies={200: schemas.CancelReply},
    reply_example={
        "ok": True,
        "sessionId": "ses_71ab",
        "turnId": "trn_4",
        "status": "cancelled",
        "lastEventId": "ses_71ab:9",
    },
    errors=("NOT_FOUND",),
)
async def cancel(id: str) -> Reply:
    """Stop the running turn, and drop what waits behind it.

    The answer comes when the session is quiet: nothing more is read from the provider, and no event of that turn
    follows. What had been streamed is kept. Without a running turn it changes nothing.
    """
    request = this_request()
    principal = await signed_in(request)  # no limit: who asks too often may all the more stop what they asked for
    done = await request.ask(DIRECTORY, CancelTurn(principal.uid, id), CANCEL_PATIENCE)
    return json(
        schemas.CancelReply(
            ok=True,
            session_id=done.session_id,
            turn_id=done.turn_id,
            status=done.status.value if done.status is not None else None,
            last_event_id=event_id(done.session_id, done.last_seq),
        )
    )


def session_fields(session: Session) -> dict[str, Any]:
    """What is shown of a session, wherever one is."""
    return {
        "id": session.id,
        "uid": session.key.uid,
        "workspace_id": session.key.workspace_id,
        "agent_id": session.key.agent_id,
        "surface": session.key.surface,
        "surface_id": session.key.surface_id,
        "status": session.status,
        "message_count": session.message_count,
        "token_count": session.token_count,
        "summary": session.summary,
        "created_at": session.created_at,
        "last_active_at": session.last_active_at,
        "archived_at": session.archived_at,
        "last_event_id": event_id(session.id, session.last_seq),
    }


def _message(message: Message) -> schemas.Message:
    calls = [schemas.ToolCall(id=c.id, name=c.name, arguments=c.arguments) for c in message.tool_calls]
    return schemas.Message(
        id=message.id,
        role=message.role.value,
        content=message.content,
        status=message.status,
        created_at=message.created_at,
        turn_id=message.turn_id,
        tokens=message.tokens,
        tool_calls=calls or UNSET,
        tool_call_id=message.tool_call_id or UNSET,
        compacted=message.compacted or UNSET,
    )


async def _view(request: ApiRequest, uid: str, workspace_id: str) -> WorkspaceView:
    """The workspace as the user sees it. Raises `Forbidden` for a stranger."""
    return await request.ask(WORKSPACES, ResolveWorkspace(uid, workspace_id, WorkspaceRole.VIEWER))
