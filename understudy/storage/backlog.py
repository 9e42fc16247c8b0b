"""What waits, what is late and what did not arrive, counted for the diagnostics."""

from datetime import datetime, timedelta
from typing import Any

from understudy.storage.connection import Connection
from understudy.storage.oversight import Backlog
from understudy.storage.records import new_id
from understudy.storage.repository import Repository
from understudy.storage.rowsecurity import may_act

STUCK = timedelta(minutes=2)
"""A lease that ended so long ago should have been taken up by somebody."""
LATE = timedelta(minutes=5)
"""So long after its time a heartbeat is late."""
RECENT = timedelta(hours=1)
"""The deliveries and the dead jobs of this long are counted."""

_BACKLOG = """
SELECT
    (SELECT count(*) FROM jobs WHERE status = 'pending' AND run_at <= %(now)s),
    (SELECT min(run_at) FROM jobs WHERE status = 'pending' AND run_at <= %(now)s),
    (SELECT count(*) FROM jobs WHERE status = 'running' AND leased_until < %(stuck)s),
    (SELECT count(*) FROM jobs WHERE status = 'failed' AND finished_at >= %(recent)s),
    (SELECT count(*) FROM webhook_deliveries WHERE status <> 'pending' AND created_at >= %(recent)s),
    (SELECT count(*) FROM webhook_deliveries WHERE status = 'failed' AND created_at >= %(recent)s),
    (SELECT count(*) FROM webhooks WHERE disabled_reason IS NOT NULL),
    (SELECT count(*) FROM heartbeat_configs WHERE enabled AND next_run_at < %(late)s),
    (SELECT count(*) FROM workspace_agent_grants WHERE expires_at <= %(purged)s),
    (SELECT count(*) FROM outbox WHERE done_at IS NULL AND created_at <= %(told)s),
    (SELECT count(*) FROM agent_health WHERE paused_until > %(now)s),
    (SELECT max(due) FROM job_schedule)
"""
# The words of a message are computed from it by PostgreSQL itself: where they differ, the rules for words have changed
# (an upgrade of its dictionaries), and what was said before is no longer found. Ids are random, and so is what lies
# around any of them.
_DRIFT = """
SELECT count(*) FROM session_messages
WHERE words <> to_tsvector('english', left(content, 100000)) AND id IN (
    (SELECT id FROM session_messages WHERE id >= %(anywhere)s ORDER BY id LIMIT 500)
    UNION (SELECT id FROM session_messages WHERE id < %(anywhere)s ORDER BY id DESC LIMIT 500)
)
"""


class Backlogs(Repository):
    """Counts over all tenants."""

    async def backlog(self, now: datetime) -> Backlog:
        """How far behind everything is."""
        row = await self._row(
            _BACKLOG,
            now=now,
            stuck=now - STUCK,
            late=now - LATE,
            recent=now - RECENT,
            purged=now - timedelta(days=2),
            told=now - timedelta(minutes=1),
        )
        assert row is not None  # noqa: S101  # one row of counts, always
        waiting, oldest, *rest = row
        wait = max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0
        return Backlog(waiting, wait, *rest)

    async def guarded(self) -> bool:
        """Whether PostgreSQL limits statements made for tenants to their rows."""

        async def work(connection: Connection[Any]) -> bool:
            return await may_act(connection)

        return await self._run(work)

    async def drift(self) -> int:
        """How many of a thousand messages, whichever, are not found by their words any more."""
        row = await self._row(_DRIFT, anywhere=new_id("msg"))
        return int(row[0]) if row else 0
