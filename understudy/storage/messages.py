# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Reading what was said in a session."""

import msgspec

from understudy.storage.records import Message, Role, ToolCall
from understudy.storage.repository import Repository, Row
from understudy.storage.rowsecurity import Tenant

_COLUMNS = (
    "id, session_id, turn_id, role, content, created_at, position, status, tool_calls::text, tool_call_id, tokens,"
    " position <= (SELECT s.compacted_position FROM sessions s WHERE s.id = session_messages.session_id)"
)
_decode_calls = msgspec.json.Decoder(list[dict[str, str]]).decode


class MessageReads(Repository):
    """The messages of sessions; rolled-back ones are kept but never shown."""

    async def messages(
        self, session_id: str, *, limit: int = 50, before: str | None = None, uid: str | None = None
    ) -> tuple[Message, ...]:
        """The newest *limit* messages (older than the message *before*), oldest of them first.

        With *uid* only if the session is that user's. An unknown *before* has nothing before it.
        """
        found = await self._rows(
            f"SELECT {_COLUMNS} FROM session_messages WHERE session_id = %(session)s AND status <> 'rolled_back'"
            " AND (%(before)s::text IS NULL OR position <"
            "      (SELECT position FROM session_messages WHERE id = %(before)s AND session_id = %(session)s))"
            " AND (%(uid)s::text IS NULL"
            "      OR EXISTS (SELECT FROM sessions WHERE id = %(session)s AND uid = %(uid)s))"
            " ORDER BY position DESC LIMIT %(limit)s",
            session=session_id,
            before=before,
            uid=uid,
            limit=limit,
            tenant=None if uid is None else Tenant(uid),
        )
        return tuple(_message(row) for row in reversed(found))

    async def turn_messages(self, session_id: str, turn_id: str, *, uid: str) -> tuple[Message, ...]:
        """The messages of a turn of the user's, in their order; none of what was taken back."""
        found = await self._rows(
            f"SELECT {_COLUMNS} FROM session_messages WHERE session_id = %(session)s AND turn_id = %(turn)s"
            " AND status <> 'rolled_back' AND EXISTS (SELECT FROM sessions WHERE id = %(session)s AND uid = %(uid)s)"
            " ORDER BY position",
            session=session_id,
            turn=turn_id,
            uid=uid,
        )
        return tuple(map(_message, found))

    async def messages_between(self, session_id: str, first: str, last: str, *, uid: str) -> tuple[Message, ...]:
        """The messages of the user's session from *first* to *last*, in their order; none of what was taken back."""
        place = "(SELECT position FROM session_messages WHERE id = %({})s AND session_id = %(session)s)"
        found = await self._rows(
            f"SELECT {_COLUMNS} FROM session_messages WHERE session_id = %(session)s AND status <> 'rolled_back'"
            f" AND position BETWEEN {place.format('first')} AND {place.format('last')}"
            " AND EXISTS (SELECT FROM sessions WHERE id = %(session)s AND uid = %(uid)s) ORDER BY position",
            session=session_id,
            first=first,
            last=last,
            uid=uid,
        )
        return tuple(map(_message, found))


def _message(row: Row) -> Message:
    calls = tuple(ToolCall(**call) for call in _decode_calls(row[8])) if row[8] is not None else ()
    return Message(
        id=row[0],
        session_id=row[1],
        turn_id=row[2],
        role=Role(row[3]),
        content=row[4],
        created_at=row[5],
        position=row[6],
        status=row[7],
        tool_calls=calls,
        tool_call_id=row[9],
        tokens=row[10],
        compacted=row[11],
    )
