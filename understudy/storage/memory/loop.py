"""What the agent loop keeps beside the conversation, in memory."""

from collections.abc import Sequence
from datetime import datetime

import attrs

from understudy.storage.entries import Compaction, Published
from understudy.storage.errors import Fenced
from understudy.storage.memory.spending import settle
from understudy.storage.memory.tables import Billed, Tables
from understudy.storage.records import AgentHealth, Approval, ApprovalStatus, AuditEntry, TurnStatus


class MemoryCompaction:
    """See `understudy.storage.compaction.CompactionRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def compact(self, wanted: Compaction) -> bool:
        """As the real one."""
        self._tables.check()
        session = self._tables.sessions.get(wanted.session_id)
        if session is None or session.epoch != wanted.epoch:
            raise Fenced("a newer incarnation owns the session")
        last = self._tables.messages.get(wanted.last_message_id)
        if last is None or last.session_id != session.id or last.compacted:
            return False
        self._tables.sessions[session.id] = attrs.evolve(session, summary=wanted.summary)
        for message in list(self._tables.messages.values()):
            if message.session_id == session.id and message.position <= last.position:
                self._tables.messages[message.id] = attrs.evolve(message, compacted=True)
        key = session.key
        self._tables.bill += [Billed(key.workspace_id, key.uid, key.agent_id, charge) for charge in wanted.charges]
        if wanted.holder is not None:
            settle(self._tables, wanted.holder, wanted.charges)
        self._tables.publish(*wanted.facts)
        return True


class MemoryApprovals:
    """See `understudy.storage.approvals.ApprovalRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._approvals: dict[str, Approval] = {}

    async def request(self, approval: Approval, *facts: Published) -> Approval:
        """As the real one."""
        self._tables.check()
        if approval.id not in self._approvals:
            self._approvals[approval.id] = approval
            self._tables.publish(*facts)
        return self._approvals[approval.id]

    async def decide(
        self, approval_id: str, status: ApprovalStatus, *, by: str, note: str | None, now: datetime, audit: AuditEntry
    ) -> Approval | None:
        """As the real one."""
        self._tables.check()
        found = self._approvals.get(approval_id)
        if any(line.entry.id == audit.id for line in self._tables.audit):
            return found
        if found is None or found.status is not ApprovalStatus.PENDING or found.expires_at <= now:
            return None
        decided = attrs.evolve(found, status=status, decided_at=now, decided_by=by, note=note)
        self._approvals[approval_id] = decided
        self._tables.append_audit(audit)
        return decided

    async def end(self, ids: Sequence[str], status: ApprovalStatus, now: datetime) -> int:
        """As the real one."""
        self._tables.check()
        found = [self._approvals[each] for each in ids if each in self._approvals]
        pending = [each for each in found if each.status is ApprovalStatus.PENDING]
        for each in pending:
            self._approvals[each.id] = attrs.evolve(each, status=status, decided_at=now)
        return len(pending)

    async def withdraw_abandoned(self, now: datetime) -> int:
        """As the real one."""
        turns = self._tables.turns
        ended = {turn.id for turn in turns.values() if turn.status is not TurnStatus.RUNNING}
        abandoned = [each.id for each in self._approvals.values() if each.turn_id in ended]
        return await self.end(abandoned, ApprovalStatus.CANCELLED, now)

    async def decided(self, ids: Sequence[str]) -> tuple[Approval, ...]:
        """As the real one."""
        self._tables.check()
        found = [self._approvals[each] for each in ids if each in self._approvals]
        return tuple(each for each in found if each.status is not ApprovalStatus.PENDING)

    async def get(self, workspace_id: str, approval_id: str, *, uid: str | None = None) -> Approval | None:
        """As the real one."""
        self._tables.check()
        found = self._approvals.get(approval_id)
        if found is None or found.workspace_id != workspace_id or uid not in (None, found.uid):
            return None
        return found

    async def list(
        self,
        workspace_id: str,
        *,
        uid: str | None = None,
        status: ApprovalStatus | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[tuple[Approval, ...], int]:
        """As the real one."""
        self._tables.check()
        found = [
            each
            for each in self._approvals.values()
            if each.workspace_id == workspace_id and uid in (None, each.uid) and status in (None, each.status)
        ]
        found.sort(key=lambda each: each.id)
        found.sort(key=lambda each: each.requested_at, reverse=True)
        return tuple(found[offset : offset + limit]), len(found)

    async def pending(self) -> tuple[Approval, ...]:
        """As the real one."""
        self._tables.check()
        found = [each for each in self._approvals.values() if each.status is ApprovalStatus.PENDING]
        return tuple(sorted(found, key=lambda each: (each.requested_at, each.id)))

    async def prune(self, before: datetime) -> int:
        """As the real one."""
        self._tables.check()
        old = [
            each.id
            for each in self._approvals.values()
            if each.requested_at < before and each.status is not ApprovalStatus.PENDING
        ]
        for each in old:
            del self._approvals[each]
        return len(old)


class MemoryHealth:
    """See `understudy.storage.health.HealthRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._unwell: dict[tuple[str, str], AgentHealth] = {}

    async def unwell(self) -> tuple[AgentHealth, ...]:
        """As the real one."""
        self._tables.check()
        return tuple(self._unwell.values())

    async def note(self, health: AgentHealth, *facts: Published) -> None:
        """As the real one."""
        self._tables.check()
        if health.workspace_id in self._tables.workspaces:
            self._unwell[health.workspace_id, health.agent_id] = health
        self._tables.publish(*facts)

    async def clear(self, workspace_id: str, agent_id: str, *facts: Published) -> None:
        """As the real one."""
        self._tables.check()
        self._unwell.pop((workspace_id, agent_id), None)
        self._tables.publish(*facts)
