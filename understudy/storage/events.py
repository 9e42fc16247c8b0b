# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Reading the event logs of sessions."""

from datetime import datetime

import msgspec

from understudy.storage.records import RunEvent
from understudy.storage.repository import Repository, Row

_COLUMNS = "session_id, seq, turn_id, type, data::text, created_at"
_decode = msgspec.json.Decoder().decode


class EventReads(Repository):
    """The events of sessions, numbered from 1 in each."""

    async def events(self, session_id: str, after: int, limit: int) -> tuple[RunEvent, ...]:
        """At most *limit* events with numbers above *after*, in order."""
        found = await self._rows(
            f"SELECT {_COLUMNS} FROM run_events WHERE session_id = %s AND seq > %s ORDER BY seq LIMIT %s",
            session_id,
            after,
            limit,
        )
        return tuple(_event(row) for row in found)

    async def event(self, session_id: str, seq: int) -> RunEvent | None:
        """One event."""
        row = await self._row(f"SELECT {_COLUMNS} FROM run_events WHERE session_id = %s AND seq = %s", session_id, seq)
        return _event(row) if row else None

    async def prune_events(self, before: datetime, *, limit: int = 10_000) -> int:
        """Delete at most *limit* events older than *before*, none of a running turn; how many."""
        return await self._count(
            "DELETE FROM run_events WHERE (session_id, seq) IN ("
            " SELECT session_id, seq FROM run_events e WHERE created_at < %s AND NOT EXISTS"
            "  (SELECT FROM turns t WHERE t.session_id = e.session_id AND t.status = 'running') LIMIT %s)",
            before,
            limit,
        )


def _event(row: Row) -> RunEvent:
    session_id, seq, turn_id, type_, data, created_at = row
    return RunEvent(session_id, seq, turn_id, type_, _decode(data), created_at)
