"""Retention, in memory."""

from datetime import datetime, timedelta

from understudy.storage.memory.tables import Tables
from understudy.storage.records import SessionKey, TurnStatus


class MemoryRetention:
    """See `understudy.storage.retention.RetentionRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def purge(self, now: datetime, *, limit: int = 200) -> tuple[tuple[str, SessionKey], ...]:
        """As the real one."""
        self._tables.check()
        tables = self._tables
        busy = {turn.session_id for turn in tables.turns.values() if turn.status is TurnStatus.RUNNING}
        gone = []
        for session in tables.sessions.values():
            days = tables.workspaces[session.key.workspace_id].settings.get("retentionDays")
            if not isinstance(days, int | float) or isinstance(days, bool) or not 1 <= days <= 3650:
                continue
            if session.last_active_at < now - timedelta(days=days) and session.id not in busy:
                gone.append((session.id, session.key))
        for session_id, _ in gone[:limit]:
            del tables.sessions[session_id]
            tables.events.pop(session_id, None)
            tables.turns = {k: v for k, v in tables.turns.items() if v.session_id != session_id}
            tables.messages = {k: v for k, v in tables.messages.items() if v.session_id != session_id}
        return tuple(gone[:limit])
