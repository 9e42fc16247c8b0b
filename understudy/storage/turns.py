"""Reading turns."""

from understudy.storage.records import IdempotencyKey, Turn, TurnStatus, Usage
from understudy.storage.repository import Repository, Row
from understudy.storage.rowsecurity import Tenant

_SELECT = """
SELECT t.id, t.session_id, t.status, t.first_seq, t.started_at, t.content, t.model, t.tools_used, t.prompt_tokens,
       t.completion_tokens, t.error_code, t.error_message, t.finished_at, k.scope, k.key, k.request_hash
FROM turns t LEFT JOIN idempotency_keys k
    ON k.scope = t.idempotency_scope AND k.key = t.idempotency_key AND k.turn_id = t.id
"""


class TurnReads(Repository):
    """The turns of sessions."""

    async def turn(self, turn_id: str, *, uid: str | None = None) -> Turn | None:
        """One turn; with *uid* only if its session is that user's."""
        row = await self._row(
            f"{_SELECT} WHERE t.id = %(turn)s AND (%(uid)s::text IS NULL"
            " OR EXISTS (SELECT FROM sessions s WHERE s.id = t.session_id AND s.uid = %(uid)s))",
            turn=turn_id,
            uid=uid,
            tenant=None if uid is None else Tenant(uid),
        )
        return _turn(row) if row else None

    async def running_turn(self, session_id: str) -> Turn | None:
        """The turn that the database believes to be running (the oldest, should there be several)."""
        row = await self._row(
            f"{_SELECT} WHERE t.session_id = %s AND t.status = 'running' ORDER BY t.first_seq, t.started_at LIMIT 1",
            session_id,
        )
        return _turn(row) if row else None

    async def turn_by_idempotency(self, scope: str, key: str) -> tuple[IdempotencyKey, Turn] | None:
        """The turn that an idempotency key started, which counts still: unexpired, or the turn's that runs."""
        row = await self._row(
            f"{_SELECT} WHERE k.scope = %s AND k.key = %s AND (k.expires_at > now() OR t.status = 'running')",
            scope,
            key,
        )
        turn = _turn(row) if row else None
        return (turn.idempotency, turn) if turn is not None and turn.idempotency is not None else None

    async def abandoned_sessions(self, own: str | None = None) -> tuple[str, ...]:
        """The ids of all sessions with a turn that is believed to be running by a node that is no more, or by *own*."""
        found = await self._rows(
            "SELECT DISTINCT t.session_id FROM turns t JOIN sessions s ON s.id = t.session_id"
            " WHERE t.status = 'running' AND (s.node = %s OR NOT node_lives(s.node)) ORDER BY t.session_id",
            own,
        )
        return tuple(row[0] for row in found)


def _turn(row: Row) -> Turn:
    scope, key, request_hash = row[13:]
    return Turn(
        id=row[0],
        session_id=row[1],
        status=TurnStatus(row[2]),
        first_seq=row[3],
        started_at=row[4],
        content=row[5],
        model=row[6],
        tools_used=tuple(row[7]),
        usage=Usage(row[8], row[9]),
        error_code=row[10],
        error_message=row[11],
        finished_at=row[12],
        idempotency=IdempotencyKey(scope, key, request_hash) if scope is not None else None,
    )
