"""The audit log: append-only and hash-chained (see migrations/0002_audit.sql)."""

from understudy.storage.batch import audit_row, encode
from understudy.storage.records import AuditEntry, AuditVerdict
from understudy.storage.repository import Repository

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


class AuditRepository(Repository):
    """Lines of the audit log."""

    async def append(self, *entries: AuditEntry) -> None:
        """Add lines, in order; one whose id is known is left as it is."""
        await self._row("SELECT audit_append(%s::json)", encode([audit_row(entry) for entry in entries]).decode())

    async def of_user(self, uid: str, *, limit: int = 100) -> tuple[AuditEntry, ...]:
        """The newest lines about the user, newest first."""
        found = await self._rows(
            "SELECT id, event, severity, created_at, uid, workspace_id, agent_id, session_id, request_id, metadata"
            " FROM audit_log WHERE uid = %s ORDER BY position DESC LIMIT %s",
            uid,
            limit,
        )
        return tuple(AuditEntry(*row) for row in found)

    async def verify(self) -> AuditVerdict:
        """Check the whole chain: every line's seal, that none is missing, and that the last is the last written."""
        row = await self._row(_VERIFY)
        return AuditVerdict(*row) if row else AuditVerdict(0)
