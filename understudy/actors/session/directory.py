"""Which session a conversation key means, and everything that is asked about sessions rather than of one."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from understudy.actors.agents.messages import AGENTS, ResolveAgent
from understudy.actors.audit.messages import AUDIT, AuditEntry, Record
from understudy.actors.errors import Conflict, Detail, Invalid, NotFound
from understudy.actors.lru import Lru
from understudy.actors.serving import NO, Server, refused
from understudy.actors.session.messages import (
    AuthorizeSession,
    Cancelled,
    CancelTurn,
    CatchUp,
    GetSession,
    HandOff,
    Left,
    ListSessions,
    MessageHit,
    Moved,
    Reset,
    ResetDone,
    ResumeStream,
    SearchMessages,
    SessionDetail,
    SessionPage,
    StartTurn,
    TurnStarted,
    session_address,
)
from understudy.actors.session.ports import SessionStore
from understudy.runtime import Ask, Deferred, current_context, receive
from understudy.storage.records import Session, SessionKey, SessionStatus, new_id

R = TypeVar("R")

REMEMBERED = 50_000
"""Conversation keys whose session is known without asking the database."""


class Directory(Server):
    """Finds the session of a conversation, making it when there is none, and passes messages on to it.

    What it remembers is only a shortcut: the database decides, and a session that has been replaced sends its
    messages on. Killed at any moment it loses nothing.
    """

    def __init__(self, store: SessionStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._known = Lru[SessionKey, str](REMEMBERED)

    @receive
    def start_turn(self, message: StartTurn) -> Deferred[TurnStarted]:
        """Pass the turn on to the conversation's session."""
        return self._pass_on(message.key, message)

    @receive
    def reset(self, message: Reset) -> Deferred[ResetDone]:
        """Pass the reset on to the conversation's session; without one, a new session is all there is to do."""
        if self._known.get(message.key) is not None:
            return self._pass_on(message.key, message)
        return self.answer(message, self._reset_unknown, message)

    @receive
    def cancel_turn(self, message: CancelTurn) -> Deferred[Cancelled]:
        """Pass it on to the session if it lives; a session without an actor is quiet."""
        address = session_address(message.session_id)
        if self.system.whereis(address) is not None:
            return self.forward(address, message)
        return self.answer(message, self._quiet, message)

    @receive
    def list_sessions(self, message: ListSessions) -> Deferred[SessionPage]:
        """One page of the caller's sessions."""
        return self.answer(message, self._list, message)

    @receive
    def get_session(self, message: GetSession) -> Deferred[SessionDetail]:
        """One session of the caller's, with messages."""
        return self.answer(message, self._detail, message)

    @receive
    def authorize(self, message: AuthorizeSession) -> Deferred[Session]:
        """The session, if it is the caller's."""
        return self.answer(message, self._authorized, message)

    @receive
    def resume(self, message: ResumeStream) -> Deferred[TurnStarted]:
        """The turn that an event belongs to."""
        return self.answer(message, self._resume, message)

    @receive
    def search(self, message: SearchMessages) -> Deferred[tuple[MessageHit, ...]]:
        """Messages of the caller's, by their words."""
        return self.answer(message, self._search, message)

    @receive
    def hand_off(self, message: HandOff) -> Deferred[Session]:
        """Pass it on to the session, once the session is the caller's and the agent one that may run there."""
        return self.answer(message, self._hand_off, message)

    @receive
    def left(self, message: Left) -> None:
        """A session has another key now."""
        if self._known.get(message.key) == message.session_id:
            self._known.forget(message.key)

    @receive
    def moved(self, message: Moved) -> None:
        """A session has been replaced."""
        self._known.put(message.key, message.session_id)

    def _pass_on(self, key: SessionKey, message: Ask[R]) -> Deferred[R]:
        known = self._known.get(key)
        if known is not None:
            return self.forward(session_address(known), message)
        deferred = self.defer(message)
        self.work(self._open_and_pass_on, key, message, deferred, name="open")
        return deferred

    async def _open_and_pass_on(self, key: SessionKey, message: Ask[R], deferred: Deferred[R]) -> None:
        try:
            await self.system.ask(AGENTS, ResolveAgent(key.workspace_id, key.agent_id))
            session, _ = await self._store.open(key, self._now())
        except NO as error:
            deferred.fail(refused(error))
        else:
            self._known.put(key, session.id)
            deferred.forward(session_address(session.id), message)

    async def _reset_unknown(self, message: Reset) -> ResetDone:
        key = message.key
        await self.system.ask(AGENTS, ResolveAgent(key.workspace_id, key.agent_id))
        session, made = await self._store.open(key, self._now())
        self._known.put(key, session.id)
        if made:
            return ResetDone(archived_session_id=None, session_id=session.id)
        return await self.system.ask(session_address(session.id), message)

    async def _owned(self, uid: str, session_id: str) -> Session:
        session = await self._store.get(session_id, uid=uid)
        if session is None:
            raise NotFound("there is no such session")
        return session

    async def _authorized(self, message: AuthorizeSession) -> Session:
        session = await self._owned(message.uid, message.session_id)
        await self._catch_up(session)
        return session

    async def _catch_up(self, session: Session) -> None:
        """Let the session's actor, if it lives here, know of what another node has written."""
        address = session_address(session.id)
        if self.system.whereis(address) is not None:
            await self.system.ask(address, CatchUp(session.last_seq))

    async def _quiet(self, message: CancelTurn) -> Cancelled:
        session = await self._owned(message.uid, message.session_id)
        if await self._store.running_turn(session.id) is not None:
            # Its actor died and has not come back yet; waking it ends the turn.
            return await self.system.ask(session_address(session.id), message)
        return Cancelled(session.id, None, None, session.last_seq)

    async def _list(self, message: ListSessions) -> SessionPage:
        sessions, total = await self._store.list(
            message.uid,
            status=message.status,
            agent_id=message.agent_id,
            surface=message.surface,
            workspace_id=message.workspace_id,
            limit=message.limit,
            offset=message.offset,
        )
        return SessionPage(tuple(sessions), total)

    async def _detail(self, message: GetSession) -> SessionDetail:
        session = await self._store.get(message.session_id, uid=message.uid)
        if session is None and message.workspace_id is not None:
            session = await self._store.load(message.session_id)
            if session is not None and session.key.workspace_id == message.workspace_id:
                self._audit("session.viewed", message.uid, session)
            else:
                session = None
        if session is None:
            raise NotFound("there is no such session")
        messages = await self._store.messages(session.id, limit=message.limit, before=message.before)
        running = await self._store.running_turn(session.id) if session.status is SessionStatus.ACTIVE else None
        return SessionDetail(session, tuple(messages), running.id if running else None)

    async def _search(self, message: SearchMessages) -> tuple[MessageHit, ...]:
        return await self._store.search_messages(
            message.uid, message.text, workspace_id=message.workspace_id, limit=message.limit
        )

    async def _hand_off(self, message: HandOff) -> Session:
        session = await self._owned(message.uid, message.session_id)
        if session.status is SessionStatus.ARCHIVED:
            raise Conflict("the session is archived: nobody goes on with it")
        if session.key.agent_id == message.agent_id:
            return session
        await self.system.ask(AGENTS, ResolveAgent(session.key.workspace_id, message.agent_id))
        return await self.system.ask(session_address(session.id), message)

    def _audit(self, event: str, uid: str, session: Session) -> None:
        entry = AuditEntry(
            new_id("aud"),
            event,
            "low",
            self._now(),
            uid=uid,
            workspace_id=session.key.workspace_id,
            agent_id=session.key.agent_id,
            session_id=session.id,
            request_id=current_context().request_id,
            metadata={"owner": session.key.uid},
        )
        self.system.tell(AUDIT, Record(entry))

    async def _resume(self, message: ResumeStream) -> TurnStarted:
        session = await self._owned(message.uid, message.session_id)
        if session.key.workspace_id != message.workspace_id:
            raise NotFound("there is no such session")
        if message.seq > session.last_seq:
            newest = f"Last-Event-ID: there is no event {message.seq} yet; the newest is {session.last_seq}"
            raise Invalid(newest, details=(Detail("Last-Event-ID", "in_the_future", session.last_seq),))
        page = await self._store.events(session.id, message.seq - 1, 1) if message.seq > 0 else ()
        turn = await self._store.turn(page[0].turn_id) if page and page[0].turn_id else None
        if turn is None:
            raise NotFound("that event is no longer kept")
        await self._catch_up(session)
        return TurnStarted(turn.id, session.id, is_new=False, after=message.seq, replayed=True)
