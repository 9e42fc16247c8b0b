# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""How turns went."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from understudy.storage.records import TurnStatus, Usage
from understudy.storage.repository import Repository, Row
from understudy.storage.rowsecurity import Tenant
from understudy.storage.spending import Span, Trace, TraceFilter

_decode = msgspec.json.Decoder().decode
_NEAR = timedelta(seconds=1)
_COLUMNS = """
id, turn_id, workspace_id, uid, agent_id, session_id, status, started_at, finished_at, rounds, tool_calls,
prompt_tokens, completion_tokens, cost, unpriced, request_id, trace_id, parent_id, error_code
"""
_WHERE = {
    "uid": "uid = %(uid)s",
    "agent_id": "agent_id = %(agent_id)s",
    "session_id": "session_id = %(session_id)s",
    "status": "status = %(status)s",
    "since": "started_at >= %(since)s",
    "until": "started_at <= %(until)s",
}


class TraceRepository(Repository):
    """Traces: they come with the end of their turn (see `understudy.storage.entries.TurnClosed`)."""

    async def list(self, wanted: TraceFilter, *, limit: int = 20, offset: int = 0) -> tuple[tuple[Trace, ...], int]:
        """One page, newest first and without spans, and how many there are in all."""
        asked: dict[str, Any] = {name: getattr(wanted, name) for name in _WHERE}
        where = " AND ".join(
            ["workspace_id = %(workspace)s", *(test for name, test in _WHERE.items() if asked[name] is not None)]
        )
        found = await self._rows(
            f"SELECT {_COLUMNS} FROM agent_traces WHERE {where}"
            " ORDER BY started_at DESC, id DESC LIMIT %(limit)s OFFSET %(offset)s",
            **asked | {"workspace": wanted.workspace_id, "limit": limit, "offset": offset},
            tenant=Tenant(wanted.uid, wanted.workspace_id),
        )
        ((total,),) = await self._rows(
            f"SELECT count(*) FROM agent_traces WHERE {where}",
            **asked | {"workspace": wanted.workspace_id},
            tenant=Tenant(wanted.uid, wanted.workspace_id),
        )
        return tuple(_trace(row) for row in found), int(total)

    async def get(self, workspace_id: str, trace_id: str, *, uid: str | None = None) -> Trace | None:
        """One trace with its spans, if it is the workspace's (and the user's)."""
        row = await self._row(
            f"SELECT {_COLUMNS}, spans::text FROM agent_traces WHERE id = %s AND workspace_id = %s"
            " AND (%s::text IS NULL OR uid = %s)",
            trace_id,
            workspace_id,
            uid,
            uid,
            tenant=Tenant(uid, workspace_id),
        )
        return _whole(row)

    async def of_turn(self, workspace_id: str, turn_id: str, started_at: datetime) -> Trace | None:
        """The trace of a turn that began within a second of *started_at*, with its spans.

        That is asked for by time since turns have no index of their own here: it would cost every turn a write.
        """
        row = await self._row(
            f"SELECT {_COLUMNS}, spans::text FROM agent_traces"
            " WHERE workspace_id = %s AND started_at BETWEEN %s AND %s AND turn_id = %s",
            workspace_id,
            started_at - _NEAR,
            started_at + _NEAR,
            turn_id,
            tenant=Tenant(workspace_id=workspace_id),
        )
        return _whole(row)

    async def prune(self, before: datetime, *, limit: int = 10_000) -> int:
        """Delete traces of turns that began before then, at most *limit*; returns how many."""
        return await self._count(
            "DELETE FROM agent_traces WHERE id IN (SELECT id FROM agent_traces WHERE started_at < %s LIMIT %s)",
            before,
            limit,
        )


def _whole(row: Row | None) -> Trace | None:
    if row is None:
        return None
    return _trace(row[:-1], tuple(Span(x["kind"], x["at"], x["ms"], x["of"]) for x in _decode(row[-1])))


def _trace(row: Row, spans: tuple[Span, ...] = ()) -> Trace:
    (id_, turn, workspace, uid, agent, session, status, started, finished, rounds, calls, pt, ct, cost, unpriced) = row[
        :15
    ]
    request, trace, parent, error = row[15:]
    return Trace(
        id=id_,
        turn_id=turn,
        workspace_id=workspace,
        uid=uid,
        agent_id=agent,
        session_id=session,
        status=TurnStatus(status),
        started_at=started,
        finished_at=finished,
        rounds=rounds,
        tool_calls=calls,
        usage=Usage(pt, ct),
        cost=cost,
        unpriced=unpriced,
        request_id=request,
        trace_id=trace,
        parent_id=parent,
        error_code=error,
        spans=spans,
    )
