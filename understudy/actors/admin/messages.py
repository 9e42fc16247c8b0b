"""What operators can ask. Everything may be refused with `Unavailable`; about a user nobody has, with `NotFound`."""

from collections.abc import Mapping
from datetime import date, datetime

import attrs

from understudy.actors.session.messages import SessionPage
from understudy.runtime import Ask
from understudy.storage.job import Job as Job
from understudy.storage.oversight import Used as Used
from understudy.storage.oversight import UserUsage as UserUsage
from understudy.storage.records import AuditEntry as AuditEntry

ADMIN = "admin"
"""The address of the admin actor."""


@attrs.frozen
class NodeHealth:
    """The process in a few numbers. Bytes are None where the system does not tell; ``uptime`` is in seconds."""

    rss_bytes: int | None
    heap_bytes: int | None
    uptime: float
    active_sessions: int
    tool_count: int


@attrs.frozen
class GetNodeHealth(Ask[NodeHealth]):
    """How the process does."""


@attrs.frozen
class RegisteredAgent:
    """An agent as it is stored or configured: ``workspace_id`` None is everybody's."""

    id: str
    workspace_id: str | None
    version: int
    config: Mapping[str, object]
    created_at: datetime | None
    updated_at: datetime | None


@attrs.frozen
class RegisteredAgents:
    """Some agents, everybody's first, then by workspace and id, of ``total``."""

    agents: tuple[RegisteredAgent, ...]
    total: int


@attrs.frozen
class ListRegisteredAgents(Ask[RegisteredAgents]):
    """One page of the agents of all workspaces, and those that are everybody's."""

    limit: int = 100
    offset: int = 0


@attrs.frozen
class RequireUser(Ask[None]):
    """Refuse unless something may be done on this user's behalf: with `Forbidden` for one who is disabled."""

    uid: str


@attrs.frozen
class GetNodeJob(Ask[Job]):
    """A job of this type that belongs to no workspace. Refused with `NotFound`."""

    type: str
    job_id: str


@attrs.frozen
class UsageOfUser:
    """What a user used in a month, in all workspaces; ``limit`` are the tokens they may use, None without one."""

    used: UserUsage
    limit: int | None


@attrs.frozen
class GetUsage(Ask[UsageOfUser]):
    """What a user used in the month (UTC) that begins with the day ``month``."""

    uid: str
    month: date


@attrs.frozen
class ListSessionsOf(Ask[SessionPage]):
    """The active sessions of a user, newest activity first."""

    uid: str
    limit: int = 100
    offset: int = 0


@attrs.frozen
class ListAuditOf(Ask[tuple[AuditEntry, ...]]):
    """The newest lines of the audit log about a user."""

    uid: str
    limit: int = 50
