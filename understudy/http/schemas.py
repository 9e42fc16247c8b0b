"""The JSON of the platform door: what requests may hold and what answers look like.

These are what `/openapi.json` describes. Structs and not attrs classes, because msgspec renames fields to the
contract's camel case only for its own; they never leave this floor.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from understudy.actors.session.messages import OnBusy, SessionStatus

Email = Annotated[str, Meta(min_length=3, max_length=254, examples=["mira@example.org"])]
Password = Annotated[str, Meta(min_length=1, max_length=128)]
Title = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\S")]
"""What people call something: not nothing, nor white space alone."""
Slug = Annotated[str, Meta(min_length=1, max_length=128)]
Offset = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Moment = Annotated[datetime, Meta(tz=True)]


class Wire(Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all: read-only, named as the contract names."""


class Surface(StrEnum):
    """Where a conversation takes place."""

    CHAT = "chat"
    PROP = "prop"
    GROUP = "group"


# Requests


class Registration(Wire, frozen=True):
    """A new account."""

    email: Email
    password: Password
    name: Annotated[str, Meta(min_length=1, max_length=100)] | None = None


class Credentials(Wire, frozen=True):
    """An existing account."""

    email: Email
    password: Password


class RefreshRequest(Wire, frozen=True):
    """A refresh token to spend."""

    refresh_token: Annotated[str, Meta(min_length=1, max_length=4096)]


class LogoutRequest(Wire, frozen=True):
    """A refresh token, when there is no access token."""

    refresh_token: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None


class Conversation(Wire, frozen=True):
    """Which conversation: the same four words always mean the same session."""

    agent_id: Slug = "chad"
    surface: Surface = Surface.CHAT
    surface_id: Slug = "main"


class ChatRequest(Conversation, frozen=True, kw_only=True):
    """A message to an agent."""

    message: Annotated[str, Meta(min_length=1, max_length=10_000, examples=["What time is it?"])]
    on_busy: OnBusy = OnBusy.ENQUEUE
    webhook_url: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None


# Answers


class User(Wire, frozen=True):
    """An account."""

    id: str
    email: str
    name: str | None
    created_at: datetime


class SignedIn(Wire, frozen=True):
    """An account, its tokens, and the workspace that was made with it."""

    user: User
    access_token: str
    refresh_token: str
    workspace_id: str | None


class Tokens(Wire, frozen=True):
    """A fresh pair of tokens."""

    access_token: str
    refresh_token: str


class Ok(Wire, frozen=True):
    """It was done."""

    ok: bool = True


class Status(Wire, frozen=True):
    """A word."""

    status: str = "ok"


class Usage(Wire, frozen=True):
    """Tokens of one turn, summed over its inference rounds. Cached ones are part of the prompt's."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | UnsetType = UNSET


class ChatReply(Wire, frozen=True):
    """The agent's answer. ``finishReason`` is `stop`, or `length` when it is as long as it may be and ends there."""

    content: str
    session_id: str
    tools_used: list[str]
    usage: Usage
    agent_id: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    finish_reason: str | UnsetType = UNSET
    duration_ms: float | UnsetType = UNSET


class ResetReply(Wire, frozen=True):
    """The old session, if there was one, and the new one."""

    ok: bool
    archived_session_id: str | None
    session_id: str


class AgentPresence(Wire, frozen=True):
    """What an agent does for the caller at the moment."""

    agent_id: str
    state: str
    session_id: str
    since: datetime


class PresenceReply(Wire, frozen=True):
    """All agents that work for the caller."""

    agents: list[AgentPresence]


class Workspace(Wire, frozen=True):
    """A workspace, as its member sees it. ``createdAt`` is in milliseconds since 1970."""

    id: str
    name: str
    owner_id: str
    plan: str
    created_at: int
    settings: dict[str, Any]
    your_role: str


class WorkspaceList(Wire, frozen=True):
    """The caller's workspaces."""

    workspaces: list[Workspace]


class Session(Wire, frozen=True):
    """A conversation."""

    id: str
    uid: str
    workspace_id: str
    agent_id: str
    surface: str
    surface_id: str
    status: SessionStatus
    message_count: int
    token_count: int
    summary: str | None
    created_at: datetime
    last_active_at: datetime
    archived_at: datetime | None
    last_event_id: str
    """The id of its newest event: what `Last-Event-ID` would be after reading everything."""


class SessionPage(Wire, frozen=True):
    """One page of sessions, newest activity first."""

    sessions: list[Session]
    total: int
    limit: int
    offset: int


class ToolCall(Wire, frozen=True):
    """A tool call asked for by the model; ``arguments`` is JSON text."""

    id: str
    name: str
    arguments: str


class Message(Wire, frozen=True):
    """One message of a session. ``compacted``: models are told of it by the session's summary only."""

    id: str
    role: str
    content: str
    status: str
    created_at: datetime
    turn_id: str | None
    tokens: int
    tool_calls: list[ToolCall] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    compacted: bool | UnsetType = UNSET


class SessionDetail(Session, frozen=True):
    """A session with its newest messages, in the order of time."""

    messages: list[Message]
    running_turn: str | None


class CancelReply(Wire, frozen=True):
    """The session is quiet: no event of the stopped turn follows ``lastEventId``."""

    ok: bool
    session_id: str
    turn_id: str | None
    status: str | None
    last_event_id: str


class SessionCounts(Wire, frozen=True):
    """How many sessions."""

    active: int
    total: int
