# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Conversations: found by key, owned by epoch."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from understudy.storage.audit import record
from understudy.storage.connection import Connection
from understudy.storage.encoding import clean
from understudy.storage.entries import Published
from understudy.storage.errors import Fenced
from understudy.storage.events import EventReads
from understudy.storage.finding import MessageSearch
from understudy.storage.messages import MessageReads
from understudy.storage.outbox import publish
from understudy.storage.records import AuditEntry, Message, Session, SessionKey, SessionStatus, new_id
from understudy.storage.repository import Row, rows
from understudy.storage.rowsecurity import Tenant
from understudy.storage.turns import TurnReads

_COLUMNS = (
    "id, workspace_id, uid, agent_id, surface, surface_id, status, created_at, last_active_at, epoch, last_seq,"
    " message_count, token_count, summary, archived_at, node"
)
_OF_KEY = "workspace_id = %s AND uid = %s AND agent_id = %s AND surface = %s AND surface_id = %s"
_ACTIVE = f"SELECT {_COLUMNS} FROM sessions WHERE {_OF_KEY} AND status = 'active'"
_INSERT = (
    "INSERT INTO sessions (id, workspace_id, uid, agent_id, surface, surface_id, status, created_at, last_active_at)"
    " VALUES (%s, %s, %s, %s, %s, %s, 'active', %s, %s)"
    " ON CONFLICT (uid, workspace_id, agent_id, surface, surface_id) WHERE status = 'active' DO NOTHING"
    f" RETURNING {_COLUMNS}"
)
# Who has left a workspace has left what they said there, too.
_THEIRS = (
    "uid = %(uid)s AND EXISTS (SELECT FROM workspace_members m"
    " WHERE m.workspace_id = sessions.workspace_id AND m.uid = sessions.uid)"
)
_FILTER = (
    f"(%(uid)s::text IS NULL OR {_THEIRS}) AND (%(status)s::text IS NULL OR status = %(status)s)"
    " AND (%(agent)s::text IS NULL OR agent_id = %(agent)s)"
    " AND (%(surface)s::text IS NULL OR surface = %(surface)s)"
    " AND (%(workspace)s::text IS NULL OR workspace_id = %(workspace)s)"
)


class SessionRepository(MessageReads, MessageSearch, TurnReads, EventReads):
    """Sessions, and reading what they hold. What turns write goes through the journal."""

    async def open(self, key: SessionKey, now: datetime) -> tuple[Session, bool]:
        """The active session of *key*, made when there is none, and whether this call made it.

        However many ask at the same time, one session is made and one caller told so.
        """
        made = new_id("ses")

        async def work(connection: Connection[Any]) -> Session:
            while True:
                found = await rows(connection, _ACTIVE, *_values(key))
                if found:
                    return _session(found[0])
                if inserted := await rows(connection, _INSERT, made, *_values(key), now, now):
                    return _session(inserted[0])

        session = await self._run(work)
        return session, session.id == made

    async def claim(self, session_id: str, node: str) -> Session | None:
        """Make the session *node*'s: the caller may write with its new epoch, whoever held the old one is fenced.

        A session in which another living node runs a turn is left alone: it comes back with that ``node`` in it.
        """
        row = await self._row(f"SELECT {_COLUMNS} FROM session_claim(%s, %s)", session_id, node)
        return _session(row) if row else None

    async def load(self, session_id: str) -> Session | None:
        """The session, whoever it belongs to."""
        row = await self._row(f"SELECT {_COLUMNS} FROM sessions WHERE id = %s", session_id)
        return _session(row) if row else None

    async def get(self, session_id: str, *, uid: str) -> Session | None:
        """The session, if it is this user's, and they still belong to its workspace."""
        query = f"SELECT {_COLUMNS} FROM sessions WHERE id = %(id)s AND {_THEIRS}"
        row = await self._row(query, tenant=Tenant(uid), id=session_id, uid=uid)
        return _session(row) if row else None

    async def list(
        self,
        uid: str | None,
        *,
        status: SessionStatus | None = None,
        agent_id: str | None = None,
        surface: str | None = None,
        workspace_id: str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> tuple[Sequence[Session], int]:
        """One page of the user's sessions, newest activity first, and how many there are on all pages.

        Those of workspaces that they have left are no more among them.

        Without *uid* they are everybody's: the caller names a workspace, or may see all.
        """
        wanted = {
            "uid": uid,
            "status": status.value if status else None,
            "agent": agent_id,
            "surface": surface,
            "workspace": workspace_id,
        }

        async def work(connection: Connection[Any]) -> tuple[Sequence[Session], int]:
            page = await rows(
                connection,
                f"SELECT {_COLUMNS}, count(*) OVER () FROM sessions WHERE {_FILTER}"
                " ORDER BY last_active_at DESC, id LIMIT %(limit)s OFFSET %(offset)s",
                **wanted,
                limit=limit,
                offset=offset,
            )
            if page:
                return tuple(_session(row[:-1]) for row in page), page[0][-1]
            total = await rows(connection, f"SELECT count(*) FROM sessions WHERE {_FILTER}", **wanted)
            return (), total[0][0]

        tenant = None if uid is None and workspace_id is None else Tenant(uid, workspace_id)
        return await self._run(work, tenant=tenant)

    async def reset(self, session_id: str, now: datetime, *, epoch: int) -> tuple[Session, Session]:
        """Archive the session and open its successor, in one transaction: (archived, active).

        A session that is archived already is left as it is, and answered with the active one of its key: of many that
        reset one session at the same time, one does. Raises `Fenced` when it is active and has another *epoch*, and
        LookupError when there is no such session.
        """
        made = new_id("ses")

        async def work(connection: Connection[Any]) -> tuple[Session, Session] | None:
            await rows(
                connection,
                "UPDATE sessions SET status = 'archived', archived_at = %s"
                " WHERE id = %s AND status = 'active' AND epoch = %s",
                now,
                session_id,
                epoch,
            )
            old = await rows(connection, f"SELECT {_COLUMNS} FROM sessions WHERE id = %s", session_id)
            if not old:
                return None
            archived = _session(old[0])
            if archived.status is SessionStatus.ACTIVE:
                raise Fenced("a newer incarnation owns the session")
            while True:  # another reset or hand-off may archive the active one between the two questions
                active = await rows(connection, _INSERT, made, *_values(archived.key), now, now)
                if not active:
                    active = await rows(connection, _ACTIVE, *_values(archived.key))
                if active:
                    return archived, _session(active[0])

        done = await self._transact(work)
        if done is None:
            raise LookupError(f"there is no session {session_id}")
        return done

    async def hand_off(
        self, session_id: str, agent_id: str, note: Message, told: Published, audit: AuditEntry, *, epoch: int
    ) -> Session:
        """Give the session to another agent: its key, the *note* in its history, the fact and the audit line at once.

        Raises `Fenced` when the session has another *epoch* or is archived, `StoreConflict` (``conversation``) when
        that agent has an active session under the key already.
        """

        async def work(connection: Connection[Any]) -> Session | None:
            held = await rows(
                connection,
                f"SELECT {_COLUMNS}, next_position FROM sessions"
                " WHERE id = %s AND epoch = %s AND status = 'active' FOR UPDATE",
                session_id,
                epoch,
            )
            if not held:
                return None
            if await rows(connection, "SELECT FROM session_messages WHERE id = %s", note.id):
                return _session(held[0][:-1])  # our own first attempt, whose answer was lost
            moved = await rows(
                connection,
                "UPDATE sessions SET agent_id = %s, next_position = next_position + 1,"
                " message_count = message_count + 1, last_active_at = greatest(last_active_at, %s)"
                f" WHERE id = %s RETURNING {_COLUMNS}",
                agent_id,
                note.created_at,
                session_id,
            )
            await rows(
                connection,
                "INSERT INTO session_messages (id, session_id, position, role, content, status, tokens, created_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                note.id,
                session_id,
                held[0][-1],
                note.role.value,
                clean(note.content),
                note.status,
                note.tokens,
                note.created_at,
            )
            await record(connection, audit)
            await publish(connection, told)
            return _session(moved[0])

        session = await self._transact(work)
        if session is None:
            raise Fenced("a newer incarnation owns the session, or it is archived")
        return session


def _values(key: SessionKey) -> tuple[str, ...]:
    return key.workspace_id, key.uid, key.agent_id, key.surface, key.surface_id


def _session(row: Row) -> Session:
    return Session(row[0], SessionKey(*row[1:6]), SessionStatus(row[6]), *row[7:])
