"""`/sessions`: conversations, their messages, their events, and the way to stop one."""

from typing import Annotated, Any
from urllib.parse import urlencode

from msgspec import UNSET, Meta
from quart import Blueprint

from understudy.actors.session.messages import (
    DIRECTORY,
    AuthorizeSession,
    CancelTurn,
    GetSession,
    ListSessions,
    Message,
    Session,
    SessionStatus,
    session_address,
)
from understudy.http import schemas
from understudy.http.access import signed_in
from understudy.http.decode import query
from understudy.http.errors import invalid
from understudy.http.events import event_id, last_event_id, show
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, StreamReply, json
from understudy.http.request import ApiRequest, this_request
from understudy.http.sse import Nothing, event_stream

routes = Blueprint("sessions", __name__, url_prefix="/sessions")

CANCEL_PATIENCE = 15.0
"""Seconds for a turn to become quiet: its provider's connection closed, its end recorded."""


class ListQuery(schemas.Wire, frozen=True):
    """Which sessions."""

    status: SessionStatus | None = None
    agent_id: schemas.Slug | None = None
    surface: schemas.Surface | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    offset: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0


class DetailQuery(schemas.Wire, frozen=True):
    """How many messages, and before which."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    before: schemas.Slug | None = None


class EventsQuery(schemas.Wire, frozen=True):
    """Events after which one, and whether to wait for those to come."""

    after: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    follow: bool = True


@routes.get("")
@operation("listSessions", Auth.JWT, query=ListQuery, replies={200: schemas.SessionPage})
async def list_sessions() -> Reply:
    """List your sessions, newest activity first."""
    request = this_request()
    principal = await signed_in(request)
    asked = query(request, ListQuery)
    surface = asked.surface.value if asked.surface is not None else None
    page = await request.node.ask(
        DIRECTORY,
        ListSessions(principal.uid, asked.status, asked.agent_id, surface, asked.limit, asked.offset),
    )
    sessions = [schemas.Session(**_session(session)) for session in page.sessions]
    reply = schemas.SessionPage(sessions=sessions, total=page.total, limit=asked.limit, offset=asked.offset)
    return json(reply, headers=_next_link(request, asked, page.total))


@routes.get("/<id>")
@operation("getSession", Auth.JWT, query=DetailQuery, replies={200: schemas.SessionDetail}, errors=("NOT_FOUND",))
async def get_session(id: str) -> Reply:  # noqa: A002  # the contract's name for it
    """Read a session with its newest messages."""
    request = this_request()
    principal = await signed_in(request)
    asked = query(request, DetailQuery)
    detail = await request.node.ask(DIRECTORY, GetSession(principal.uid, id, asked.limit, asked.before))
    messages = [_message(message) for message in detail.messages]
    return json(schemas.SessionDetail(**_session(detail.session), messages=messages, running_turn=detail.running_turn))


@routes.get("/<id>/events")
@operation(
    "sessionEvents",
    Auth.JWT,
    query=EventsQuery,
    replies={200: None},
    media_type="text/event-stream",
    headers=("Last-Event-ID",),
    errors=("NOT_FOUND",),
)
async def session_events(id: str) -> StreamReply:  # noqa: A002  # the contract's name for it
    """Read a session's events, from any one on.

    What has happened comes first, then what happens; with `follow=false` the stream ends with the newest. Come back
    with `Last-Event-ID`, or with `after` and a number.
    """
    session_id = id
    request = this_request()
    principal = await signed_in(request)
    asked = query(request, EventsQuery)
    session = await request.node.ask(DIRECTORY, AuthorizeSession(principal.uid, session_id))
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
    return event_stream(
        Nothing if finished else (lambda: request.node.subscribe(address, after=after)),
        show(session_id) if asked.follow else show(session_id, until=session.last_seq),
        request.draining,
        ping_every=request.settings.ping_every,
        ends_by_itself=not asked.follow,
    )


@routes.post("/<id>/cancel")
@operation("cancelTurn", Auth.JWT, replies={200: schemas.CancelReply}, errors=("NOT_FOUND",))
async def cancel(id: str) -> Reply:  # noqa: A002  # the contract's name for it
    """Stop the running turn, and drop what waits behind it.

    The answer comes when the session is quiet: nothing more is read from the provider, and no event of that turn
    follows. What had been streamed is kept. Without a running turn it changes nothing.
    """
    request = this_request()
    principal = await signed_in(request)
    with request.node.context(request_id=request.id, deadline=request.deadline):
        done = await request.node.ask(DIRECTORY, CancelTurn(principal.uid, id), timeout=CANCEL_PATIENCE)
    return json(
        schemas.CancelReply(
            ok=True,
            session_id=done.session_id,
            turn_id=done.turn_id,
            status=done.status.value if done.status is not None else None,
            last_event_id=event_id(done.session_id, done.last_seq),
        )
    )


def _session(session: Session) -> dict[str, Any]:
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
    )


def _next_link(request: ApiRequest, asked: ListQuery, total: int) -> tuple[tuple[bytes, bytes], ...]:
    following = asked.offset + asked.limit
    if following >= total:
        return ()
    kept = {name: value for name, value in request.args.items() if name not in {"limit", "offset"}}
    link = urlencode({**kept, "limit": asked.limit, "offset": following})
    return ((b"link", f'</sessions?{link}>; rel="next"'.encode()),)
