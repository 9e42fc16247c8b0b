"""What is done to a session between two turns: it is archived for a successor, or given to another agent."""

from collections import deque

import attrs

from understudy.actors.errors import Conflict, DomainError, TurnCancelled, Unavailable
from understudy.actors.presence.messages import PRESENCE, PresenceGone
from understudy.actors.session.ending import CANCELLED_BY_REQUEST
from understudy.actors.session.handoff import transfer
from understudy.actors.session.messages import (
    DIRECTORY,
    HandOff,
    Left,
    Moved,
    Reset,
    ResetDone,
    StartTurn,
    TurnStarted,
    session_address,
)
from understudy.actors.session.services import SessionServices
from understudy.actors.session.shared import SharedSession
from understudy.runtime import Deferred, Work, receive
from understudy.storage.errors import Fenced
from understudy.storage.records import Session, SessionStatus

MID_TURN = "the session is in the middle of a turn: wait for its end, or cancel it"
TRY_AGAIN = "the conversation goes on through another server; try again"


class SucceededSession(SharedSession):
    """A session with an end: whatever is said to it afterwards, its successor gets. Turns wait while it passes over."""

    def __init__(self, session_id: str, services: SessionServices) -> None:
        super().__init__(session_id, services)
        self._compacting: Work | None = None
        self._queue: deque[tuple[StartTurn, Deferred[TurnStarted]]] = deque()
        self._resetting = 0
        """Resets and handoffs that are to be done, or being done: turns that come meanwhile wait."""
        self._successor: str | None = None

    def _next(self) -> None:
        """Begin what waits; the turns' own class knows how."""

    @receive
    def reset(self, message: Reset) -> Deferred[ResetDone]:
        """Archive this session and open its successor; a running turn is cancelled first.

        One in which nothing was said yet is as new as its successor would be: it stays, so that to reset twice is to
        reset once.
        """
        session = self._require()
        if self._successor is not None:
            return self.forward(session_address(self._successor), message)
        if message.key != session.key:
            self.system.tell(DIRECTORY, Left(message.key, self._id))
            return self.forward(DIRECTORY, message)
        busy = self._current is not None or self._resetting > 0 or bool(self._queue)
        deferred = self.defer(message)
        self._resetting += 1
        self._drop_queue()
        if self._current is None:
            self.work(self._reset, message, deferred, busy, name="reset")
        else:
            self._current.on_quiet.append(lambda: self.work(self._reset, message, deferred, busy, name="reset"))
            self._current.cancel(CANCELLED_BY_REQUEST)
        return deferred

    @receive
    def hand_off(self, message: HandOff) -> Deferred[Session]:
        """Give the conversation to another agent, between two turns."""
        session = self._require(message.uid)
        if self._successor is not None or session.status is SessionStatus.ARCHIVED:
            raise Conflict("the session is archived: nobody goes on with it")
        if self._current is not None or self._resetting:
            raise Conflict(MID_TURN)
        deferred = self.defer(message)
        self._resetting += 1
        self.work(self._hand_off, message, deferred, name="handoff")
        return deferred

    async def _reset(self, message: Reset, deferred: Deferred[ResetDone], busy: bool) -> None:
        try:
            await self._seize(self._reset_owned, message, deferred, busy)
        except DomainError as refusal:
            deferred.fail(refusal)
        self._resetting -= 1
        self._next()

    async def _reset_owned(self, message: Reset, deferred: Deferred[ResetDone], busy: bool) -> None:
        if self._successor is None and self._is_elsewhere(message.key):
            deferred.forward(DIRECTORY, message)
        elif self._successor is not None:
            deferred.reply(ResetDone(archived_session_id=self._id, session_id=self._successor))
        elif not busy and self._require().message_count == 0:
            deferred.reply(ResetDone(archived_session_id=None, session_id=self._id))
        else:
            successor = await self._replace()
            deferred.reply(ResetDone(archived_session_id=self._id, session_id=successor))

    async def _replace(self) -> str:
        """Archive this session and open its successor; from now on everything is sent on to that one."""
        session = self._require()
        old, new = await self._services.store.reset(self._id, self._services.now(), epoch=session.epoch)
        if self._compacting is not None:
            self._compacting.cancel()
        self._session = attrs.evolve(session, status=old.status, archived_at=old.archived_at)
        self._successor = new.id
        self.system.tell(DIRECTORY, Moved(session.key, new.id))
        self.system.tell(PRESENCE, PresenceGone(self._id))
        return new.id

    async def _hand_off(self, message: HandOff, deferred: Deferred[Session]) -> None:
        try:
            async with self._owning:
                await self._take()
                if not self._owned:
                    raise Conflict(MID_TURN)
                await self._hand_off_owned(message, deferred)
        except DomainError as refusal:
            deferred.fail(refusal)
        except Fenced:
            self._disown()
            deferred.fail(Unavailable(TRY_AGAIN, retry_after=1.0))
        self._resetting -= 1
        self._next()

    async def _hand_off_owned(self, message: HandOff, deferred: Deferred[Session]) -> None:
        session = self._require()
        if session.status is SessionStatus.ARCHIVED:
            raise Conflict("the session is archived: nobody goes on with it")
        if message.agent_id != session.key.agent_id:
            moved, note = await transfer(session, message, self._services, deferred)
            self._session = moved
            if self._conversation is not None:
                self._conversation.messages.append(note)
            self.labels = {**self.labels, "agent": moved.key.agent_id}
            self.system.tell(DIRECTORY, Left(session.key, self._id))
            self.system.tell(DIRECTORY, Moved(moved.key, self._id))
        deferred.reply(self._require())

    def _hand_over(self, message: StartTurn, started: Deferred[TurnStarted]) -> None:
        assert self._successor is not None  # noqa: S101 - callers have just looked
        started.forward(session_address(self._successor), message)

    def _drop_queue(self) -> None:
        while self._queue:
            _, started = self._queue.popleft()
            started.fail(TurnCancelled("the turn was cancelled before it began"))
