"""The JSON of `/admin` and `/audit`."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from understudy.actors.identity.messages import KeyScope
from understudy.http.schemas import Moment, Offset, Session, Slug, Title, Wire


class MemoryUse(Wire, frozen=True):
    """Memory of the process, in bytes: what it holds, and what it has asked for as data. Null: not told."""

    rss_bytes: int | None
    heap_bytes: int | None


class NodeHealth(Wire, frozen=True):
    """The process in a few numbers; ``uptime`` is in seconds."""

    status: str
    memory: MemoryUse
    uptime: float
    active_sessions: int
    tool_count: int
    version: str


class PageQuery(Wire, frozen=True):
    """Which part of a list."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    offset: Offset = 0


class RegisteredAgent(Wire, frozen=True):
    """An agent; without a workspace it is everybody's."""

    id: str
    workspace_id: str | None
    version: int
    config: dict[str, Any]
    created_at: datetime | None
    updated_at: datetime | None


class RegisteredAgents(Wire, frozen=True):
    """Agents of all workspaces; ``count`` is of them all."""

    agents: list[RegisteredAgent]
    count: int
    limit: int
    offset: int


class UsageQuery(Wire, frozen=True):
    """Of which month (UTC); the present one unless said."""

    month: Annotated[str, Meta(pattern=r"^\d{4}-(0[1-9]|1[0-2])$", examples=["2026-03"])] | None = None


class AgentUsage(Wire, frozen=True):
    """What one agent used on the user's behalf."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: float


class UserUsage(AgentUsage, frozen=True, kw_only=True):
    """What a user used in a month, in all workspaces. ``limit`` is in tokens, null without one."""

    uid: str
    month: str
    by_agent: dict[str, AgentUsage]
    limit: int | None


class UserSessions(Wire, frozen=True):
    """A user's active sessions, newest activity first."""

    uid: str
    sessions: list[Session]
    total: int
    limit: int
    offset: int


class UserAuditEntry(Wire, frozen=True, rename=None):
    """A line of the audit log. ``action`` is the last word of its event."""

    id: str
    event: str
    uid: str | None
    agent_id: str | None
    action: str
    session_id: str | None
    details: dict[str, Any]
    metadata: dict[str, Any]
    timestamp: datetime


class UserAudit(Wire, frozen=True):
    """The newest lines of the audit log about a user, newest first."""

    uid: str
    entries: list[UserAuditEntry]


class NewKeyRequest(Wire, frozen=True):
    """Whom a key is for, what it is good for, and until when."""

    name: Annotated[Title, Meta(examples=["ci"])]
    scopes: Annotated[tuple[KeyScope, ...], Meta(min_length=1, max_length=20)]
    expires_at: Moment | None = None


class InternalKey(Wire, frozen=True):
    """An internal key without its secret. That of the settings has no id."""

    id: str | None
    name: str
    scopes: tuple[str, ...]
    created_by: str
    created_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class InternalKeyMade(InternalKey, frozen=True, kw_only=True):
    """A new internal key. ``key`` is what goes into `X-Api-Key`; it is shown this once."""

    key: str


class InternalKeys(Wire, frozen=True):
    """The internal keys, newest first, revoked ones behind the others."""

    keys: list[InternalKey]


class AuditQuery(Wire, frozen=True, rename={"since": "from", "until": "to", "workspace_id": "workspaceId"}):
    """Which lines. Times are with an offset (`2026-03-02T09:10:00Z`), both inclusive."""

    since: Moment | None = None
    until: Moment | None = None
    event: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    uid: Slug | None = None
    workspace_id: Slug | None = None


class AuditPageQuery(AuditQuery, frozen=True, kw_only=True):
    """Which lines, and which part of them."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    offset: Offset = 0


class AuditStreamQuery(AuditQuery, frozen=True, kw_only=True):
    """Which lines, and whether to wait for those to come."""

    follow: bool = True


class AuditEntry(Wire, frozen=True):
    """A line of the audit log in its place in the chain; ``hash`` seals it and all before it."""

    position: int
    id: str
    event: str
    severity: str
    timestamp: datetime
    uid: str | None
    workspace_id: str | None
    agent_id: str | None
    session_id: str | None
    request_id: str | None
    metadata: dict[str, Any]
    hash: str


class AuditPage(Wire, frozen=True):
    """Lines of the audit log, newest first."""

    entries: list[AuditEntry]
    total: int
    limit: int
    offset: int


class FirstBroken(Wire, frozen=True):
    """The first place in the chain that does not fit. Without an id, there is no line in it: one was taken out."""

    position: int
    id: str | None
    event: str | None


class AuditVerdict(Wire, frozen=True):
    """Whether every line of the audit log is as it was written."""

    valid: bool
    count: int
    first_broken: FirstBroken | None
