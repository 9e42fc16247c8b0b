"""Conversations of workspaces that do not want theirs to be kept for ever."""

from datetime import datetime

from understudy.storage.records import SessionKey
from understudy.storage.repository import Repository

# What is no number of days is no wish. The journal holds the row of a session that it writes to: that one is left for
# the next night.
_PURGE = """
DELETE FROM sessions WHERE id IN (
    SELECT s.id
    FROM workspaces w
    CROSS JOIN LATERAL (
        SELECT CASE WHEN jsonb_typeof(w.settings -> 'retentionDays') = 'number'
                    THEN (w.settings ->> 'retentionDays')::numeric END AS days
    ) AS kept
    JOIN sessions s ON s.workspace_id = w.id
    WHERE kept.days BETWEEN 1 AND 3650
      AND s.last_active_at < %(now)s - make_interval(secs => (kept.days * 86400)::double precision)
      AND NOT EXISTS (SELECT FROM turns t WHERE t.session_id = s.id AND t.status = 'running')
    LIMIT %(limit)s
    FOR UPDATE OF s SKIP LOCKED
)
RETURNING id, workspace_id, uid, agent_id, surface, surface_id
"""


class RetentionRepository(Repository):
    """Sessions, as their workspace's setting ``retentionDays`` (1 to 3650) limits their life."""

    async def purge(self, now: datetime, *, limit: int = 200) -> tuple[tuple[str, SessionKey], ...]:
        """Delete up to *limit* sessions that have been quiet for longer, with all that was said in them; which.

        What they cost stays on the bill.
        """
        gone = await self._rows(_PURGE, now=now, limit=limit)
        return tuple((row[0], SessionKey(*row[1:])) for row in gone)
