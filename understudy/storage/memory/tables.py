"""The rows that the memory fakes share."""

import hashlib
from collections.abc import Callable
from datetime import datetime

import attrs
import msgspec
import trio

from understudy.storage.batch import audit_row
from understudy.storage.deliveries import DeliveryStatus, Webhook
from understudy.storage.encoding import clean
from understudy.storage.entries import Published
from understudy.storage.errors import StoreUnavailable
from understudy.storage.job import Job
from understudy.storage.lockouts import Failures
from understudy.storage.records import (
    Agent,
    AgentVersion,
    AuditEntry,
    DiagnosticRun,
    Grant,
    MemoryEntry,
    Message,
    OutboxItem,
    Profile,
    RefreshToken,
    RunEvent,
    Session,
    StoredAnswer,
    Turn,
    User,
    Workspace,
    WorkspaceRole,
)
from understudy.storage.remembered import Entity, MemoryProfile, Procedure, Relation
from understudy.storage.spending import Charge, Reservation, Trace


@attrs.define
class Kept:
    """An idempotency key's answer and when it stops counting."""

    answer: StoredAnswer
    expires_at: datetime
    seed: str | None = None
    claimant: str | None = None
    claimed_until: datetime | None = None
    doubtful: bool = False


@attrs.define
class Outgoing:
    """An outbox item and what has become of it."""

    item: OutboxItem
    claimed_until: datetime | None = None
    done_at: datetime | None = None


@attrs.frozen
class Claim:
    """Whose a running job is, and until when."""

    worker: str
    until: datetime


@attrs.define(kw_only=True)
class Sent:
    """A delivery, with what its owner is not shown."""

    id: str
    queue: str
    uid: str
    event_id: str
    event: str
    created_at: datetime
    webhook_id: str | None = None
    body: str | None = None
    turn_id: str | None = None
    url: str | None = None
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    step: int = 0
    claim: int = 0
    next_attempt_at: datetime | None = None
    response_status: int | None = None
    duration_ms: int | None = None
    error: str | None = None


@attrs.frozen
class Billed:
    """A charge and whose it is."""

    workspace_id: str
    uid: str
    agent_id: str
    charge: Charge


@attrs.frozen
class Line:
    """A line of the audit log with its seal."""

    entry: AuditEntry
    prev_hash: bytes
    hash: bytes


def seal(prev_hash: bytes, position: int, entry: AuditEntry) -> bytes:
    """The hash of a line; not byte for byte that of PostgreSQL, which hashes its own JSON."""
    return hashlib.sha256(prev_hash + msgspec.json.encode([position, audit_row(entry)], order="sorted")).digest()


class Tables:
    """Rows by key. ``available = False`` makes every method raise `StoreUnavailable`, as when the server is away."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.available = True
        self.users: dict[str, User] = {}
        self.workspaces: dict[str, Workspace] = {}
        self.members: dict[tuple[str, str], tuple[WorkspaceRole, datetime]] = {}
        self.tokens: dict[bytes, RefreshToken] = {}
        self.failures: dict[str, Failures] = {}
        self.agents: dict[str, Agent] = {}
        self.agent_versions: dict[str, list[AgentVersion]] = {}
        self.deleted_agents: set[str] = set()
        self.grants: dict[str, tuple[Grant, str]] = {}
        self.profiles: dict[str, Profile] = {}
        self.memories: dict[str, MemoryEntry] = {}
        self.memory_profiles: dict[str, MemoryProfile] = {}
        self.memory_assignments: dict[tuple[str, str], str] = {}
        self.entities: dict[str, Entity] = {}
        self.edges: dict[tuple[str, str, Relation], tuple[float, datetime]] = {}
        self.procedures: dict[str, Procedure] = {}
        self.extractions: dict[str, int] = {}
        self.flushes: dict[str, int] = {}
        self.sessions: dict[str, Session] = {}
        self.next_position: dict[str, int] = {}
        self.turns: dict[str, Turn] = {}
        self.messages: dict[str, Message] = {}
        self.events: dict[str, dict[int, RunEvent]] = {}
        self.keys: dict[tuple[str, str], Kept] = {}
        self.audit: list[Line] = []
        self.outbox: dict[str, Outgoing] = {}
        self.diagnostics: dict[str, DiagnosticRun] = {}
        self.bill: list[Billed] = []
        self.counters: dict[tuple[str, datetime], tuple[int, int]] = {}
        self.reservations: dict[str, tuple[Reservation, ...]] = {}
        self.lapsing: dict[str, datetime] = {}
        self.traces: dict[str, Trace] = {}
        self.webhooks: dict[str, Webhook] = {}
        self.deliveries: dict[str, Sent] = {}
        self.jobs: dict[str, Job] = {}
        self.claims: dict[str, Claim] = {}
        self.schedule: dict[str, datetime] = {}
        self.nodes: dict[str, datetime] = {}
        self.listeners: list[trio.MemorySendChannel[str]] = []

    def check(self) -> None:
        """Raise `StoreUnavailable` when the store plays dead."""
        if not self.available:
            raise StoreUnavailable

    def lives(self, node: str | None) -> bool:
        """Whether the node's lease lasts."""
        until = self.nodes.get(node) if node is not None else None
        return until is not None and until > self.now()

    def call(self, said: str) -> None:
        """Say something to all nodes that listen."""
        for listener in self.listeners:
            listener.send_nowait(said)

    def append_audit(self, entry: AuditEntry) -> None:
        """Seal a line onto the chain, unless its id is known."""
        if any(line.entry.id == entry.id for line in self.audit):
            return
        prev = self.audit[-1].hash if self.audit else b""
        self.audit.append(Line(entry, prev, seal(prev, len(self.audit) + 1, entry)))

    def publish(self, *facts: Published) -> None:
        """Put facts into the outbox; known ids are left alone."""
        for fact in facts:
            item = OutboxItem(fact.id, fact.topic, fact.workspace_id, fact.payload, fact.created_at, attempts=0)
            self.outbox.setdefault(fact.id, Outgoing(item))


def cleaned_message(message: Message) -> Message:
    """The message as PostgreSQL would keep it."""
    return attrs.evolve(message, content=clean(message.content))
