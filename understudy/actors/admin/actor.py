"""The actor that answers operators about all tenants."""

from datetime import UTC, date, datetime, timedelta

from understudy.actors.admin.messages import (
    ADMIN,
    AuditEntry,
    GetNodeHealth,
    GetNodeJob,
    GetUsage,
    Job,
    ListAuditOf,
    ListRegisteredAgents,
    ListSessionsOf,
    NodeHealth,
    RegisteredAgent,
    RegisteredAgents,
    RequireUser,
    UsageOfUser,
)
from understudy.actors.admin.ports import AdminStores
from understudy.actors.agents.document import to_json
from understudy.actors.agents.messages import AGENTS, AgentView, ListAgents, Source
from understudy.actors.diagnostics.machine import heap_bytes, resident_bytes
from understudy.actors.errors import Forbidden, NotFound
from understudy.actors.metrics.messages import METRICS, Snapshot
from understudy.actors.serving import Server
from understudy.actors.session.messages import DIRECTORY, ListSessions, SessionPage, SessionStatus
from understudy.runtime import ChildSpec, Deferred, receive
from understudy.storage.records import Agent, User


class Admin(Server):
    """Reads, and keeps nothing. Who may ask is the caller's to check."""

    def __init__(self, stores: AdminStores, monthly_tokens: int | None) -> None:
        self._stores = stores
        self._monthly_tokens = monthly_tokens

    @receive
    def health(self, message: GetNodeHealth) -> Deferred[NodeHealth]:
        """How the process does."""
        return self.answer(message, self._health)

    @receive
    def agents(self, message: ListRegisteredAgents) -> Deferred[RegisteredAgents]:
        """A page of all agents."""
        return self.answer(message, self._agents, message)

    @receive
    def usage(self, message: GetUsage) -> Deferred[UsageOfUser]:
        """What a user used."""
        return self.answer(message, self._usage, message)

    @receive
    def sessions(self, message: ListSessionsOf) -> Deferred[SessionPage]:
        """A user's active sessions."""
        return self.answer(message, self._sessions, message)

    @receive
    def audit(self, message: ListAuditOf) -> Deferred[tuple[AuditEntry, ...]]:
        """What the audit log has about a user."""
        return self.answer(message, self._audit, message)

    @receive
    def user(self, message: RequireUser) -> Deferred[None]:
        """Whether something may be done on a user's behalf."""
        return self.answer(message, self._require_enabled, message.uid)

    @receive
    def job(self, message: GetNodeJob) -> Deferred[Job]:
        """One of the node's own jobs."""
        return self.answer(message, self._job, message)

    async def _health(self) -> NodeHealth:
        numbers = await self.system.ask(METRICS, Snapshot())
        return NodeHealth(
            rss_bytes=resident_bytes(),
            heap_bytes=heap_bytes(),
            uptime=numbers.uptime,
            active_sessions=numbers.sessions_active,
            tool_count=numbers.tools,
        )

    async def _agents(self, message: ListRegisteredAgents) -> RegisteredAgents:
        # No workspace has this id, so that what is listed is what everybody has.
        shared = [
            _shown(agent)
            for agent in (await self.system.ask(AGENTS, ListAgents(""))).agents
            if agent.source is Source.GLOBAL
        ]
        first = shared[message.offset : message.offset + message.limit]
        rest = max(0, message.offset - len(shared))
        stored, total = await self._stores.admin.agents(limit=message.limit - len(first), offset=rest)
        return RegisteredAgents((*first, *map(_stored, stored)), len(shared) + total)

    async def _usage(self, message: GetUsage) -> UsageOfUser:
        await self._require(message.uid)
        since = _midnight(message.month)
        until = _midnight((message.month + timedelta(days=31)).replace(day=1))
        return UsageOfUser(await self._stores.admin.usage(message.uid, since, until), self._monthly_tokens)

    async def _sessions(self, message: ListSessionsOf) -> SessionPage:
        await self._require(message.uid)
        wanted = ListSessions(message.uid, SessionStatus.ACTIVE, limit=message.limit, offset=message.offset)
        return await self.system.ask(DIRECTORY, wanted)

    async def _audit(self, message: ListAuditOf) -> tuple[AuditEntry, ...]:
        await self._require(message.uid)
        return await self._stores.audit.of_user(message.uid, limit=message.limit)

    async def _job(self, message: GetNodeJob) -> Job:
        job = await self._stores.admin.job(message.type, message.job_id)
        if job is None:
            raise NotFound("there is no such job")
        return job

    async def _require(self, uid: str) -> User:
        user = await self._stores.users.by_id(uid)
        if user is None:
            raise NotFound("there is no such user")
        return user

    async def _require_enabled(self, uid: str) -> None:
        if (await self._require(uid)).disabled_at is not None:
            raise Forbidden("the user's account is disabled")


def _shown(agent: AgentView) -> RegisteredAgent:
    return RegisteredAgent(
        agent.id, agent.workspace_id, agent.version, to_json(agent.document), agent.created_at, agent.updated_at
    )


def _stored(agent: Agent) -> RegisteredAgent:
    current = agent.current
    return RegisteredAgent(
        agent.id, agent.workspace_id, current.version, current.config, agent.created_at, agent.updated_at
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def admin_spec(stores: AdminStores, *, monthly_tokens: int | None = None) -> ChildSpec:
    """The child at `ADMIN`. *monthly_tokens* is the budget that every user has, if there is one."""
    return ChildSpec(ADMIN, Admin, args=(stores, monthly_tokens))
