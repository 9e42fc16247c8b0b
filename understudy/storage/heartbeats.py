# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Heartbeats, as the workspaces that they belong to see them. What runs them is in `heartbeat_runs`."""

from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from understudy.storage.audit import is_recorded, record
from understudy.storage.connection import Connection
from understudy.storage.encoding import encode
from understudy.storage.errors import StoreConflict
from understudy.storage.heartbeat_records import Heartbeat, HeartbeatRun, RunStatus
from understudy.storage.records import AuditEntry
from understudy.storage.repository import Repository, Row, rows
from understudy.storage.rowsecurity import Tenant

_decode = msgspec.json.Decoder().decode
BEAT = (
    "h.id, h.workspace_id, h.uid, h.document::text, h.interval_seconds, h.enabled, h.next_run_at, h.created_at,"
    " h.updated_at, h.state::text, h.errors, h.disabled_reason"
)
WIDTH = 12
RUN = (
    "r.id, r.heartbeat_id, r.due_at, r.status, r.attempt, r.owner, r.lease_until, r.started_at, r.finished_at,"
    " r.wake::text, r.http_status, r.item_count, r.error, r.session_id"
)


class HeartbeatRepository(Repository):
    """Heartbeats as workspaces see them: every query is about one, and reaches nobody else's.

    A change and its line in the audit log are one transaction.
    """

    async def create(self, heartbeat: Heartbeat, audit: AuditEntry, *, most: int) -> None:
        """Store a new heartbeat. Raises `StoreConflict` (``number of heartbeats``) when the workspace has *most*."""

        async def work(connection: Connection[Any]) -> None:
            # Counted with the workspace's row locked: two that come together cannot both be the last.
            await rows(connection, "SELECT FROM workspaces WHERE id = %s FOR NO KEY UPDATE", heartbeat.workspace_id)
            if await rows(connection, "SELECT FROM heartbeat_configs WHERE id = %s", heartbeat.id):
                return  # our own first attempt, whose answer was lost
            count = "SELECT count(*) FROM heartbeat_configs WHERE workspace_id = %s"
            if (await rows(connection, count, heartbeat.workspace_id))[0][0] >= most:
                raise StoreConflict("number of heartbeats")
            await rows(
                connection,
                "INSERT INTO heartbeat_configs (id, workspace_id, uid, document, interval_seconds, enabled,"
                " next_run_at, created_at, updated_at, state, errors, disabled_reason)"
                " VALUES (%s, %s, %s, %s::json, %s, %s, %s, %s, %s, %s::json, %s, %s)",
                heartbeat.id,
                heartbeat.workspace_id,
                heartbeat.uid,
                encode(heartbeat.document).decode(),
                heartbeat.interval,
                heartbeat.enabled,
                heartbeat.next_run_at,
                heartbeat.created_at,
                heartbeat.updated_at,
                encode(heartbeat.state).decode(),
                heartbeat.errors,
                heartbeat.disabled_reason,
            )
            await record(connection, audit)

        await self._transact(work)

    async def list(self, workspace_id: str) -> tuple[tuple[Heartbeat, HeartbeatRun | None], ...]:
        """All heartbeats of the workspace with the newest run of each that has ended, oldest heartbeat first."""
        found = await self._rows(
            f"SELECT {BEAT}, {RUN} FROM heartbeat_configs h LEFT JOIN LATERAL ("
            " SELECT * FROM heartbeat_runs WHERE heartbeat_id = h.id AND status <> 'running'"
            " ORDER BY due_at DESC LIMIT 1) r ON true"
            " WHERE h.workspace_id = %s ORDER BY h.created_at, h.id",
            workspace_id,
            tenant=Tenant(workspace_id=workspace_id),
        )
        return tuple((beat_of(row[:WIDTH]), run_of(row[WIDTH:]) if row[WIDTH] else None) for row in found)

    async def change(
        self, workspace_id: str, heartbeat_id: str, change: Callable[[Heartbeat], Heartbeat], audit: AuditEntry
    ) -> tuple[Heartbeat, HeartbeatRun | None] | None:
        """Make of the workspace's heartbeat what *change* says, and read it with its newest run; None: no such one.

        Changes are made one after the other. *change* may be called twice, and what it raises is raised.
        """

        async def work(connection: Connection[Any]) -> tuple[Heartbeat, HeartbeatRun | None] | None:
            found = await rows(
                connection,
                f"SELECT {BEAT} FROM heartbeat_configs h WHERE h.workspace_id = %s AND h.id = %s FOR UPDATE",
                workspace_id,
                heartbeat_id,
            )
            if not found:
                return None
            changed = change(beat_of(found[0]))
            await rows(
                connection,
                "UPDATE heartbeat_configs SET document = %s::json, interval_seconds = %s, enabled = %s,"
                " next_run_at = %s, updated_at = %s, errors = %s, disabled_reason = %s WHERE id = %s",
                encode(changed.document).decode(),
                changed.interval,
                changed.enabled,
                changed.next_run_at,
                changed.updated_at,
                changed.errors,
                changed.disabled_reason,
                heartbeat_id,
            )
            await record(connection, audit)
            last = await rows(
                connection,
                f"SELECT {RUN} FROM heartbeat_runs r WHERE r.heartbeat_id = %s AND r.status <> 'running'"
                " ORDER BY r.due_at DESC LIMIT 1",
                heartbeat_id,
            )
            return changed, run_of(last[0]) if last else None

        return await self._transact(work)

    async def delete(
        self, workspace_id: str, heartbeat_id: str, check: Callable[[Heartbeat], None], audit: AuditEntry
    ) -> bool:
        """Delete the workspace's heartbeat with its runs and what it has seen, unless *check* raises.

        Whether there was one.
        """

        async def work(connection: Connection[Any]) -> bool:
            found = await rows(
                connection,
                f"SELECT {BEAT} FROM heartbeat_configs h WHERE h.workspace_id = %s AND h.id = %s FOR UPDATE",
                workspace_id,
                heartbeat_id,
            )
            if not found:
                # Perhaps it was deleted by our own first attempt, whose answer was lost: then its line is in the log.
                return await is_recorded(connection, audit)
            check(beat_of(found[0]))
            await rows(connection, "DELETE FROM heartbeat_configs WHERE id = %s", heartbeat_id)
            await record(connection, audit)
            return True

        return await self._transact(work)

    async def runs(
        self, workspace_id: str, heartbeat_id: str, *, limit: int, offset: int
    ) -> tuple[tuple[HeartbeatRun, ...], int] | None:
        """A page of the runs of the workspace's heartbeat, newest due time first, and how many there are; or None."""
        counted = await self._row(
            "SELECT (SELECT count(*) FROM heartbeat_runs WHERE heartbeat_id = h.id) FROM heartbeat_configs h"
            " WHERE h.workspace_id = %s AND h.id = %s",
            workspace_id,
            heartbeat_id,
            tenant=Tenant(workspace_id=workspace_id),
        )
        if counted is None:
            return None
        found = await self._rows(
            f"SELECT {RUN} FROM heartbeat_runs r JOIN heartbeat_configs h ON h.id = r.heartbeat_id"
            " WHERE h.workspace_id = %s AND h.id = %s ORDER BY r.due_at DESC LIMIT %s OFFSET %s",
            workspace_id,
            heartbeat_id,
            limit,
            offset,
            tenant=Tenant(workspace_id=workspace_id),
        )
        return tuple(run_of(row) for row in found), counted[0]


def beat_of(row: Row) -> Heartbeat:
    """A row of `BEAT`."""
    beat = Heartbeat(*row)
    return attrs.evolve(beat, document=_decode(row[3]), state=_decode(row[9]))


def run_of(row: Row) -> HeartbeatRun:
    """A row of `RUN`."""
    run = HeartbeatRun(*row)
    return attrs.evolve(run, status=RunStatus(row[3]), wake=_decode(row[9]) if row[9] is not None else None)
