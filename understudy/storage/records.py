"""The values that rows become: frozen, complete, shared by the actors and the repositories.

No record knows SQL and none knows an actor. Times are UTC and aware.
"""

import secrets
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

import attrs

Json = Mapping[str, Any]
Headers = tuple[tuple[str, str], ...]
"""Header fields of an answer, in their order."""


def new_id(prefix: str) -> str:
    """A fresh identifier: *prefix*, an underscore and 128 random bits, URL-safe. Never a counter."""
    return f"{prefix}_{secrets.token_urlsafe(16)}"


class SessionStatus(StrEnum):
    """Whether a session still takes turns."""

    ACTIVE = "active"
    ARCHIVED = "archived"


class TurnStatus(StrEnum):
    """How far a turn got. All but ``RUNNING`` are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class Role(StrEnum):
    """Who a message is from."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    SYSTEM = "system"


class WorkspaceRole(StrEnum):
    """What a member may do, most first."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


@attrs.frozen
class User:
    """A person with an account. ``token_version`` rises when all their access tokens must stop counting."""

    id: str
    email: str
    password_hash: str
    created_at: datetime
    name: str | None = None
    token_version: int = 0
    disabled_at: datetime | None = None


@attrs.frozen
class RefreshToken:
    """One refresh token, known only by its SHA-256. ``family_id`` is shared by all that were rotated from one login."""

    jti: str
    uid: str
    family_id: str
    token_hash: bytes
    issued_at: datetime
    expires_at: datetime
    rotated_at: datetime | None = None
    replaced_by: str | None = None
    revoked_at: datetime | None = None


class RotationOutcome(StrEnum):
    """What became of a request to rotate a refresh token."""

    ROTATED = "rotated"
    REPEATED = "repeated"
    REPLAYED = "replayed"
    REFUSED = "refused"


@attrs.frozen
class Rotation:
    """The answer to a rotation.

    ``token`` is the successor that now counts (``ROTATED``), the successor stored the first time (``REPEATED``: the
    same token came twice within the grace), the token that was replayed (``REPLAYED``: its family is revoked), or
    None (``REFUSED``: unknown, expired or revoked).
    """

    outcome: RotationOutcome
    token: RefreshToken | None = None


@attrs.frozen
class LockoutRule:
    """When failures lock: *limit* of them within *window*; for *first*, each time twice as long, up to *ceiling*."""

    limit: int
    window: timedelta
    first: timedelta
    ceiling: timedelta


@attrs.frozen
class Restrictions:
    """All that agents may run on in a workspace; None is any, and nothing named is none."""

    providers: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None


ANYTHING = Restrictions()


@attrs.frozen
class Workspace:
    """A tenant. ``plan`` is personal, team or enterprise."""

    id: str
    name: str
    owner_id: str
    plan: str
    created_at: datetime
    settings: Json = attrs.field(factory=dict)
    restrictions: Restrictions = ANYTHING


@attrs.frozen
class Membership:
    """That a user belongs to a workspace, and as what."""

    workspace: Workspace
    uid: str
    role: WorkspaceRole
    joined_at: datetime


@attrs.frozen
class Member:
    """A member of a workspace, as its admins see them."""

    uid: str
    email: str
    name: str | None
    role: WorkspaceRole
    joined_at: datetime


class MemberChange(StrEnum):
    """What became of a wish to change who belongs to a workspace."""

    ADDED = "added"
    CHANGED = "changed"
    SAME = "same"
    REMOVED = "removed"


@attrs.frozen
class WorkspaceChange:
    """What is to be different of a workspace; None leaves it. A setting that is None is taken away."""

    name: str | None = None
    plan: str | None = None
    settings: Json = attrs.field(factory=dict)
    restrictions: Restrictions | None = None

    def applied_to(self, workspace: Workspace) -> Workspace:
        """The workspace as it would be."""
        settings = {key: value for key, value in {**workspace.settings, **self.settings}.items() if value is not None}
        return attrs.evolve(
            workspace,
            name=self.name if self.name is not None else workspace.name,
            plan=self.plan if self.plan is not None else workspace.plan,
            settings=settings,
            restrictions=self.restrictions if self.restrictions is not None else workspace.restrictions,
        )


@attrs.frozen
class Grant:
    """That the members of one workspace may run an agent of another, until ``expires_at`` if there is one.

    A ``readonly`` grant lets them talk to it, and not start sub-agents from it.
    """

    id: str
    granting_workspace_id: str
    receiving_workspace_id: str
    agent_id: str
    readonly: bool
    expires_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime

    def counts(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now < self.expires_at


@attrs.frozen
class SessionKey:
    """What makes two chats the same conversation."""

    workspace_id: str
    uid: str
    agent_id: str
    surface: str
    surface_id: str


@attrs.frozen
class Session:
    """A conversation. ``epoch`` is the fencing number of the actor that may write it; ``last_seq`` its newest event."""

    id: str
    key: SessionKey
    status: SessionStatus
    created_at: datetime
    last_active_at: datetime
    epoch: int = 0
    last_seq: int = 0
    message_count: int = 0
    token_count: int = 0
    summary: str | None = None
    archived_at: datetime | None = None


@attrs.frozen
class ToolCall:
    """A tool call asked for by the model; ``arguments`` is the JSON text as it came."""

    id: str
    name: str
    arguments: str


@attrs.frozen
class Message:
    """One message of a session, in the order of ``position``.

    ``status`` is complete, cancelled, interrupted, failed, rolled_back or command: a partial answer is kept, and says
    so. ``compacted``: models are told of it by the session's summary.
    """

    id: str
    session_id: str
    turn_id: str | None
    role: Role
    content: str
    created_at: datetime
    position: int = 0
    status: str = "complete"
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tokens: int = 0
    compacted: bool = False


@attrs.frozen
class Usage:
    """Tokens of one turn, summed over its inference rounds."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        """The sum of two rounds."""
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@attrs.frozen
class Done:
    """How many messages, and what they cost, in micro-dollars."""

    messages: int = 0
    cost: int = 0


@attrs.frozen
class Activity:
    """What was done in a workspace in some time: sessions that were used in it, and what was said and spent in them."""

    active_sessions: int
    sessions: int
    messages: int
    users: int
    usage: Usage
    cost: int
    tool_calls: int
    by_agent: Mapping[str, Done]
    daily: Mapping[date, Done]


@attrs.frozen
class IdempotencyKey:
    """A caller's promise that requests with this key are one request.

    ``scope`` is the caller and the route (uid, workspace, method, path); ``request_hash`` the SHA-256 of the body.
    ``lasts`` is how long it counts from its first use, when it begins a turn; while the turn runs, it always does.
    """

    scope: str
    key: str
    request_hash: bytes
    lasts: timedelta = attrs.field(default=timedelta(hours=24), eq=False)


@attrs.frozen
class Turn:
    """One question and what became of it. ``first_seq`` is the sequence number just before its first event."""

    id: str
    session_id: str
    status: TurnStatus
    first_seq: int
    started_at: datetime
    content: str = ""
    model: str | None = None
    tools_used: tuple[str, ...] = ()
    usage: Usage = attrs.field(factory=Usage)
    error_code: str | None = None
    error_message: str | None = None
    idempotency: IdempotencyKey | None = None
    finished_at: datetime | None = None


@attrs.frozen
class RunEvent:
    """One event of a session's log; ``data`` is what a stream shows under ``type``."""

    session_id: str
    seq: int
    turn_id: str | None
    type: str
    data: Json
    created_at: datetime


@attrs.frozen
class KeyClaim:
    """An idempotency key is the caller's to work for. ``seed`` is the same for all attempts with the key."""

    seed: str


@attrs.frozen
class StoredAnswer:
    """What an idempotency key answers with: a turn (chat) or a stored response, or nothing yet (still running)."""

    key: IdempotencyKey
    created_at: datetime
    turn_id: str | None = None
    status_code: int | None = None
    body: bytes | None = None
    headers: Headers = ()


@attrs.frozen
class AuditEntry:
    """One line of the audit log. ``metadata`` never holds a secret."""

    id: str
    event: str
    severity: str
    created_at: datetime
    uid: str | None = None
    workspace_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    metadata: Json = attrs.field(factory=dict)


@attrs.frozen
class AuditVerdict:
    """What checking the audit chain found: how many lines, and the position of the first that does not fit."""

    entries: int
    broken_at: int | None = None


@attrs.frozen
class OutboxItem:
    """A published fact on its way out; ``attempts`` counts this claim too."""

    id: str
    topic: str
    workspace_id: str | None
    payload: bytes
    created_at: datetime
    attempts: int


@attrs.frozen
class DiagnosticRun:
    """One stored run of the diagnostics: ``report`` is the whole answer of ``GET /diagnostics``."""

    id: str
    status: str
    created_at: datetime
    report: Json


@attrs.frozen
class AgentVersion:
    """One version of an agent. ``id`` is its own and never comes again, also not when its agent is made anew."""

    id: str
    version: int
    config: Json
    created_at: datetime
    created_by: str | None = None
    label: str | None = None


@attrs.frozen
class Agent:
    """An agent as it is now. Without a ``workspace_id`` it is every workspace's.

    ``key`` is its row's, ``id`` the word its workspace knows it by.
    """

    key: str
    workspace_id: str | None
    id: str
    current: AgentVersion
    created_at: datetime
    updated_at: datetime


class MemoryTier(StrEnum):
    """Which part of memory an entry is of. What was said in sessions is found with entries, and is none of them."""

    DAILY = "daily"
    NOTES = "notes"
    GRAPH = "graph"
    PROCEDURAL = "procedural"
    WORKSPACE = "workspace"
    SESSION = "session"


class MemoryCategory(StrEnum):
    """What an entry is about."""

    DECISION = "decision"
    OUTCOME = "outcome"
    STRATEGY = "strategy"
    NOTE = "note"
    INTERACTION = "interaction"


@attrs.frozen
class Profile:
    """What is known of a person, whichever workspace they are in."""

    content: Json
    updated_at: datetime


@attrs.frozen
class MemoryEntry:
    """Something to remember, of one person in one workspace. ``weight`` is as it was written: it fades when read.

    ``category`` is a `MemoryCategory`, or a word of the entry's tier. ``embedding`` was made by ``embedder``; entries
    are read without it. What has expired is not found. ``touched_at`` is when the entry was used last.
    """

    id: str
    workspace_id: str
    uid: str
    tier: MemoryTier
    day: date
    category: str
    content: str
    created_at: datetime
    weight: float = 1.0
    embedder: str = ""
    embedding: tuple[float, ...] = ()
    expires_at: datetime | None = None
    touched_at: datetime | None = None


@attrs.frozen
class MemoryHits:
    """What a search found, best first: by its words and, where the server can compare vectors, by likeness.

    ``by_graph`` is what is near, in the graph, to what was found otherwise; ``said`` is what was said in sessions.
    """

    by_words: tuple[MemoryEntry, ...]
    by_vector: tuple[MemoryEntry, ...] | None = None
    by_graph: tuple[MemoryEntry, ...] = ()
    said: tuple[MemoryEntry, ...] = ()


@attrs.frozen
class SkillUsage:
    """How often one tool of a skill ran on one day (UTC). ``spread`` counts the runs by how long they took."""

    day: date
    skill_id: str
    tool: str
    calls: int
    errors: int
    total_ms: int
    spread: tuple[int, ...]


@attrs.frozen
class Shelf:
    """Whose entries, and which: of one tier in the order they were written; a daily shelf is of one ``day``."""

    workspace_id: str
    uid: str
    tier: MemoryTier
    day: date | None = None


@attrs.frozen
class MessageHit:
    """A message that a search found. ``snippet`` is HTML, escaped, with the hits in ``<mark>``; ``score`` is 0 to 1."""

    message_id: str
    session_id: str
    workspace_id: str
    agent_id: str
    role: Role
    snippet: str
    score: float
    created_at: datetime


class ApprovalStatus(StrEnum):
    """What became of a request for consent. All but ``PENDING`` are final."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@attrs.frozen
class Approval:
    """A tool call that waits, or waited, for somebody's consent. ``arguments`` is the JSON text as it came."""

    id: str
    workspace_id: str
    uid: str
    agent_id: str
    session_id: str
    turn_id: str
    tool_call_id: str
    tool: str
    arguments: str
    requested_at: datetime
    expires_at: datetime
    status: ApprovalStatus = ApprovalStatus.PENDING
    decided_at: datetime | None = None
    decided_by: str | None = None
    note: str | None = None


@attrs.frozen
class AgentHealth:
    """An agent that failed the last ``failures`` times it ran in the workspace, and until when it is left alone."""

    workspace_id: str
    agent_id: str
    failures: int
    last_error: str
    failed_at: datetime
    paused_until: datetime | None = None
