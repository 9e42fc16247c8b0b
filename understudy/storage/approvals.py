# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Tool calls that wait for somebody's consent."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from understudy.storage.audit import record
from understudy.storage.connection import Connection
from understudy.storage.entries import Published
from understudy.storage.outbox import publish
from understudy.storage.records import Approval, ApprovalStatus, AuditEntry
from understudy.storage.repository import Repository, Row, rows
from understudy.storage.rowsecurity import Tenant

_COLUMNS = (
    "id, workspace_id, uid, agent_id, session_id, turn_id, tool_call_id, tool, arguments, requested_at, expires_at,"
    " status, decided_at, decided_by, note"
)
_WANTED = (
    "workspace_id = %(workspace)s AND (%(uid)s::text IS NULL OR uid = %(uid)s)"
    " AND (%(status)s::text IS NULL OR status = %(status)s)"
)
_END = "UPDATE approvals SET status = %s, decided_at = %s WHERE status = 'pending' AND "


class ApprovalRepository(Repository):
    """Requests for consent. Each is decided once: whoever comes second changes nothing."""

    async def request(self, approval: Approval, *facts: Published) -> Approval:
        """Store a request and tell *facts* of it; one whose id is known is answered as it is now."""

        async def work(connection: Connection[Any]) -> Approval:
            made = await rows(
                connection,
                f"INSERT INTO approvals ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'pending',"
                " NULL, NULL, NULL) ON CONFLICT (id) DO NOTHING RETURNING id",
                approval.id,
                approval.workspace_id,
                approval.uid,
                approval.agent_id,
                approval.session_id,
                approval.turn_id,
                approval.tool_call_id,
                approval.tool,
                approval.arguments,
                approval.requested_at,
                approval.expires_at,
            )
            if made:
                await publish(connection, *facts)
            found = await rows(connection, f"SELECT {_COLUMNS} FROM approvals WHERE id = %s", approval.id)
            return _approval(found[0])

        return await self._transact(work)

    async def decide(
        self, approval_id: str, status: ApprovalStatus, *, by: str, note: str | None, now: datetime, audit: AuditEntry
    ) -> Approval | None:
        """Approve or deny a request that is pending at *now*, with its line in the audit log; None if it is not."""

        async def work(connection: Connection[Any]) -> Approval | None:
            found = await rows(
                connection,
                "UPDATE approvals SET status = %s, decided_at = %s, decided_by = %s, note = %s"
                f" WHERE id = %s AND status = 'pending' AND expires_at > %s RETURNING {_COLUMNS}",
                status.value,
                now,
                by,
                note,
                approval_id,
                now,
            )
            if found:
                await record(connection, audit)
                return _approval(found[0])
            # Perhaps it was decided by our own first attempt, whose answer was lost: then its line is in the log.
            ours = await rows(
                connection,
                f"SELECT {_COLUMNS} FROM approvals WHERE id = %s AND EXISTS (SELECT FROM audit_log WHERE id = %s)",
                approval_id,
                audit.id,
            )
            return _approval(ours[0]) if ours else None

        return await self._transact(work)

    async def end(self, ids: Sequence[str], status: ApprovalStatus, now: datetime) -> int:
        """Expire or cancel those that are still pending; how many were."""
        return await self._count(f"{_END} id = ANY (%s)", status.value, now, list(ids))

    async def withdraw_abandoned(self, now: datetime) -> int:
        """Cancel what is pending of turns that have ended: nobody waits for it. How many."""
        return await self._count(
            f"{_END} EXISTS (SELECT FROM turns t WHERE t.id = approvals.turn_id AND t.status <> 'running')",
            ApprovalStatus.CANCELLED.value,
            now,
        )

    async def decided(self, ids: Sequence[str]) -> tuple[Approval, ...]:
        """Those of *ids* that are not pending any more, whoever decided them."""
        found = await self._rows(
            f"SELECT {_COLUMNS} FROM approvals WHERE id = ANY (%s) AND status <> 'pending'", list(ids)
        )
        return tuple(map(_approval, found))

    async def get(self, workspace_id: str, approval_id: str, *, uid: str | None = None) -> Approval | None:
        """One request of the workspace, and of this user if one is given."""
        row = await self._row(
            f"SELECT {_COLUMNS} FROM approvals WHERE id = %(id)s AND workspace_id = %(workspace)s"
            " AND (%(uid)s::text IS NULL OR uid = %(uid)s)",
            id=approval_id,
            workspace=workspace_id,
            uid=uid,
            tenant=Tenant(uid, workspace_id),
        )
        return _approval(row) if row else None

    async def list(
        self,
        workspace_id: str,
        *,
        uid: str | None = None,
        status: ApprovalStatus | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[tuple[Approval, ...], int]:
        """A page, newest first, and how many there are on all pages."""
        wanted: dict[str, Any] = {"workspace": workspace_id, "uid": uid, "status": status.value if status else None}
        tenant = Tenant(uid, workspace_id)
        found = await self._rows(
            f"SELECT {_COLUMNS} FROM approvals WHERE {_WANTED} ORDER BY requested_at DESC, id"
            " LIMIT %(limit)s OFFSET %(offset)s",
            **wanted,
            limit=limit,
            offset=offset,
            tenant=tenant,
        )
        total = await self._row(f"SELECT count(*) FROM approvals WHERE {_WANTED}", **wanted, tenant=tenant)
        return tuple(map(_approval, found)), total[0] if total else 0

    async def pending(self) -> tuple[Approval, ...]:
        """All that are pending, oldest first: what a crash may have left behind."""
        found = await self._rows(
            f"SELECT {_COLUMNS} FROM approvals WHERE status = 'pending' ORDER BY requested_at, id LIMIT 10000"
        )
        return tuple(map(_approval, found))

    async def prune(self, before: datetime) -> int:
        """Delete decided ones that were requested before *before*; how many."""
        return await self._prune("approvals", "requested_at < %s AND status <> 'pending'", before)


def _approval(row: Row) -> Approval:
    values = list(row)
    values[11] = ApprovalStatus(values[11])
    return Approval(*values)
