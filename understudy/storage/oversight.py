"""What operators see and hold, as it is stored: values for the actors, like `understudy.storage.records`."""

from collections.abc import Mapping
from datetime import datetime

import attrs

from understudy.storage.records import Agent, AuditEntry, Json, Usage, Workspace


@attrs.frozen
class InternalKey:
    """A key of an operator or of a program: who holds it and what it may do. ``digest`` is its secret's SHA-256."""

    id: str
    name: str
    digest: bytes = attrs.field(repr=False)
    scopes: tuple[str, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def counts(self, now: datetime) -> bool:
        """Whether it opens anything at that moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@attrs.frozen
class AuditFilter:
    """Which lines of the audit log; what is None is not asked. ``since`` and ``until`` are both inclusive."""

    event: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    workspace_id: str | None = None
    uid: str | None = None


@attrs.frozen
class AuditLine:
    """A line of the audit log in its place in the chain, with its seal."""

    position: int
    entry: AuditEntry
    hash: bytes = b""


@attrs.frozen
class Used:
    """What was used: tokens, and micro-dollars for those that have a price."""

    usage: Usage
    cost: int


@attrs.frozen
class UserUsage:
    """What a user used in a span of time, in all workspaces together, and agent by agent."""

    total: Used
    by_agent: Mapping[str, Used]


@attrs.frozen
class Onboarding:
    """What is to be set up for a user: ``workspace`` (if they need a new one), its agents, a first profile.

    ``name`` and ``plan`` are for the workspace that came with the account, which keeps its own where they are None.
    """

    uid: str
    workspace: Workspace
    agents: tuple[Agent, ...]
    at: datetime
    name: str | None = None
    plan: str | None = None
    profile: Json | None = None
    force: bool = False


@attrs.frozen
class Onboarded:
    """The user's workspace; ``created`` says that it was set up just now."""

    workspace: Workspace
    created: bool


@attrs.frozen
class Backlog:
    """What waits, what is late and what did not arrive.

    Attributes:
        jobs_waiting: Jobs that are due and not begun.
        oldest_wait: How long the first of them has waited, in seconds.
        jobs_stuck: Running ones whose lease ended minutes ago.
        jobs_failed: Those that failed in the last hour.
        deliveries: To webhooks, that came to an end in the last hour.
        deliveries_failed: Of those, how many did not arrive.
        webhooks_disabled: Webhooks that were switched off for failing.
        heartbeats_late: Enabled ones whose time passed minutes ago.
        grants_expired: Grants that ended days ago and are still there.
        facts_waiting: Facts that nobody has been told of a minute after they came true.
        agents_paused: Agents that take no turns for having failed too often in a row.
        scheduled_at: The newest due time of the built-in schedule that was seen to; None before the first.
    """

    jobs_waiting: int = 0
    oldest_wait: float = 0.0
    jobs_stuck: int = 0
    jobs_failed: int = 0
    deliveries: int = 0
    deliveries_failed: int = 0
    webhooks_disabled: int = 0
    heartbeats_late: int = 0
    grants_expired: int = 0
    facts_waiting: int = 0
    agents_paused: int = 0
    scheduled_at: datetime | None = None
