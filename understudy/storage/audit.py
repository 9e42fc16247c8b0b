# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""The audit log: append-only and hash-chained (see migrations/0002_audit.sql)."""

from typing import Any

from understudy.storage.batch import audit_row
from understudy.storage.connection import Connection
from understudy.storage.encoding import encode
from understudy.storage.oversight import AuditFilter, AuditLine
from understudy.storage.records import AuditEntry, AuditVerdict
from understudy.storage.repository import Repository, Row, rows

_ENTRY = "id, event, severity, created_at, uid, workspace_id, agent_id, session_id, request_id, metadata"
_WHERE = {
    "event": "event = %(event)s",
    "since": "created_at >= %(since)s",
    "until": "created_at <= %(until)s",
    "workspace_id": "workspace_id = %(workspace_id)s",
    "uid": "uid = %(uid)s",
}

_VERIFY = """
WITH checked AS (
    SELECT line.position,
           line.prev_hash <> coalesce(lag(line.hash) OVER chain, '\\x')
           OR line.hash <> audit_seal(line.prev_hash, line)
           OR line.position <> row_number() OVER chain AS broken
    FROM audit_log line WINDOW chain AS (ORDER BY line.position)
), summed AS (
    SELECT count(*) AS lines, min(position) FILTER (WHERE broken) AS broken_at FROM checked
)
SELECT lines, coalesce(broken_at, CASE WHEN head.position <> lines OR head.hash <> coalesce(
    (SELECT hash FROM audit_log ORDER BY position DESC LIMIT 1), '\\x') THEN lines + 1 END)
FROM summed, audit_head head
"""


async def record(connection: Connection[Any], *entries: AuditEntry) -> None:
    """Add lines, in order, within the transaction that *connection* is in; one whose id is known is left as it is.

    For repositories whose writes do not go through the journal. Lines come one after the other in the whole system:
    best last in a transaction, so that nobody waits for the rest of it.
    """
    await rows(connection, "SELECT audit_append(%s::json)", encode([audit_row(entry) for entry in entries]).decode())


async def is_recorded(connection: Connection[Any], entry: AuditEntry) -> bool:
    """Whether the line is there already: then this is the second run of a change whose answer was lost."""
    return bool(await rows(connection, "SELECT FROM audit_log WHERE id = %s", entry.id))


class AuditRepository(Repository):
    """Lines of the audit log."""

    async def append(self, *entries: AuditEntry) -> None:
        """Add lines, in order; one whose id is known is left as it is."""
        await self._row("SELECT audit_append(%s::json)", encode([audit_row(entry) for entry in entries]).decode())

    async def of_user(self, uid: str, *, limit: int = 100) -> tuple[AuditEntry, ...]:
        """The newest lines about the user, newest first."""
        found = await self._rows(
            f"SELECT {_ENTRY} FROM audit_log WHERE uid = %s ORDER BY position DESC LIMIT %s",
            uid,
            limit,
        )
        return tuple(AuditEntry(*row) for row in found)

    async def list(
        self, wanted: AuditFilter, *, limit: int = 100, offset: int = 0
    ) -> tuple[tuple[AuditLine, ...], int]:
        """One page of lines, newest first, and how many there are on all pages."""
        where, asked = _conditions(wanted)
        found = await self._rows(
            f"SELECT position, hash, {_ENTRY} FROM audit_log WHERE {where}"
            " ORDER BY position DESC LIMIT %(limit)s OFFSET %(offset)s",
            **asked,
            limit=limit,
            offset=offset,
        )
        ((total,),) = await self._rows(f"SELECT count(*) FROM audit_log WHERE {where}", **asked)
        return tuple(_line(row) for row in found), int(total)

    async def scan(self, wanted: AuditFilter, *, after: int = 0, limit: int = 1000) -> tuple[AuditLine, ...]:
        """The next lines behind the place *after*, oldest first: with each last place asked again, all of them."""
        where, asked = _conditions(wanted)
        found = await self._rows(
            f"SELECT position, hash, {_ENTRY} FROM audit_log WHERE position > %(after)s AND {where}"
            " ORDER BY position LIMIT %(limit)s",
            **asked,
            after=after,
            limit=limit,
        )
        return tuple(_line(row) for row in found)

    async def end(self) -> int:
        """The place of the last line; 0 for an empty log."""
        row = await self._row("SELECT position FROM audit_head")
        return int(row[0]) if row else 0

    async def at(self, position: int) -> AuditLine | None:
        """The line in that place."""
        row = await self._row(f"SELECT position, hash, {_ENTRY} FROM audit_log WHERE position = %s", position)
        return _line(row) if row else None

    async def verify(self) -> AuditVerdict:
        """Check the whole chain: every line's seal, that none is missing, and that the last is the last written."""
        row = await self._row(_VERIFY)
        return AuditVerdict(*row) if row else AuditVerdict(0)


def _conditions(wanted: AuditFilter) -> tuple[str, dict[str, Any]]:
    asked = {name: value for name in _WHERE if (value := getattr(wanted, name)) is not None}
    return " AND ".join(["true", *(_WHERE[name] for name in asked)]), {"unused": None, **asked}


def _line(row: Row) -> AuditLine:
    position, sealed, *entry = row
    return AuditLine(position, AuditEntry(*entry), bytes(sealed))
