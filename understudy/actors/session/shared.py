"""A session among nodes: whose it is, and what another node writes in it.

A session is one node's at a time, which writes it under an epoch that fences off all before. Whoever has it believes
so until a write is refused (`Fenced`) or somebody says otherwise: to be sure costs nothing as long as it is true. It is
taken over when a message comes for it, unless a living node runs a turn in it; that turn is waited for, or asked to
stop.
"""

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress

import attrs
import trio

from understudy.actors.errors import NotFound, Unavailable
from understudy.actors.serving import Server, refused
from understudy.actors.session.conversation import Conversation
from understudy.actors.session.ending import LOST
from understudy.actors.session.messages import DIRECTORY, CatchUp, EndAbandoned, Left, Lost, StopWay
from understudy.actors.session.orphan import bury, find_streamed
from understudy.actors.session.running import Running
from understudy.actors.session.services import SessionServices
from understudy.runtime import Deferred, EventLog, receive
from understudy.storage.errors import Fenced, StoreUnavailable
from understudy.storage.records import RunEvent, Session, SessionKey, SessionStatus

LOOK_EVERY = 0.25
"""Seconds between two looks at a turn that another node runs, before jitter."""

LOOK_IDLE = 1.0
"""Seconds between two looks, for readers, at a session that another node has and runs no turn in."""

CALL_EVERY = 1.0
"""Seconds after which a call to another node is repeated: it may have been lost."""

SEIZE_BOUND = 10.0
"""Seconds within which another node must have stopped its turn, or whoever wants that is refused."""

TRIES = 3
"""Times that a session is taken over for one message, when others take it away again."""

NOT_STOPPED = "another server runs a turn in this conversation and has not stopped it; try again"


async def take(session_id: str, services: SessionServices) -> Session | None:
    """Take the session over for this node, and end the turn that whoever had it before left running.

    It comes back as it is then; `is_ours` tells whether it was left with another living node. None: there is no such
    session. Raises `StoreUnavailable`.
    """
    store = services.store
    session = await store.claim(session_id, services.node)
    if session is None or not is_ours(session, services) or not session.message_count:
        return session
    turn = await store.running_turn(session_id)
    if turn is None:
        return session
    content, rest = await find_streamed(store, session, turn)
    group, event = bury(session, turn, content, rest, services.now())
    try:
        await services.writer.write(*group)
    except Fenced:  # our own lease had run out, and somebody else buries it
        return await store.load(session_id)
    return attrs.evolve(session, last_seq=event.seq)


def is_ours(session: Session, services: SessionServices) -> bool:
    """Whether a session that has just been claimed is this node's."""
    return session.node == services.node


class SharedSession(Server):
    """What a session's actor does because there are other nodes; the turns are `session.SessionActor`'s."""

    def __init__(self, session_id: str, services: SessionServices) -> None:
        self._id = session_id
        self._services = services
        self._session: Session | None = None
        self._conversation: Conversation | None = None
        self._current: Running | None = None
        self._owned = False
        self._owning = trio.Lock()
        """Held while the session is being taken over, and while a turn is being recorded: never both at once."""
        self._following = False

    @property
    def _runs_here(self) -> bool:
        """Whether this very actor may be writing to the session just now: whoever else has it, it finds that out."""
        return self._current is not None and not self._current.abroad

    def _require(self, uid: str | None = None) -> Session:
        session = self._session
        if session is None or (uid is not None and session.key.uid != uid):
            raise NotFound("there is no such session")
        return session

    def _log(self) -> EventLog[RunEvent]:
        if self.events is None:
            raise NotFound("there is no such session")
        return self.events

    @receive
    def catch_up(self, message: CatchUp) -> None:
        """Somebody has read more in the database than is known here: another node wrote it."""
        if not self._runs_here and message.last_seq > self._log().last_seq:
            self._disown()
            self._log().advance(message.last_seq)

    @receive
    def lost(self, message: Lost) -> None:
        """Another node has the session now. A turn that runs here all the same cannot write any more: it ends."""
        if message.epoch <= self._require().epoch:
            return  # it has been ours again since
        self._disown()
        if self._current is not None and self._current.turn is not None:
            self._current.cancel(LOST)

    @receive
    def end_abandoned(self, message: EndAbandoned) -> Deferred[None]:
        """Take the session over from a node that is gone."""
        return self.answer(message, self._take_unless_running)

    def _adopt(self, session: Session, *, owned: bool) -> None:
        """This is what the database says of the session."""
        self._session, self._owned = session, owned
        # No turn ever ran here: nothing to read later.
        self._conversation = Conversation() if owned and not session.message_count else None
        self._log().advance(session.last_seq)
        key = session.key
        self.labels = {"workspace": key.workspace_id, "uid": key.uid, "agent": key.agent_id}
        if not owned:
            self._keep_following()

    def _disown(self) -> None:
        """The session is, or may be, another node's: look before writing again."""
        self._owned, self._conversation = False, None
        self._keep_following()

    async def _take(self) -> None:
        """Take the session over, unless another node runs a turn in it. The caller holds ``_owning``."""
        try:
            session = await take(self._id, self._services)
        except StoreUnavailable as error:
            raise refused(error) from error
        if session is None:
            raise NotFound("there is no such session")
        self._adopt(session, owned=is_ours(session, self._services))

    async def _take_unless_running(self) -> None:
        async with self._owning:
            if not self._runs_here:
                await self._take()

    def _is_elsewhere(self, key: SessionKey) -> bool:
        """Whether what is said to *key* is not for this session any more; the directory then learns it."""
        session = self._require()
        if session.status is SessionStatus.ACTIVE and session.key == key:
            return False
        self.system.tell(DIRECTORY, Left(key, self._id))
        return True

    async def _refresh(self) -> None:
        """Learn what another node has written. Raises `Unavailable`."""
        try:
            session = await self._services.store.load(self._id)
        except StoreUnavailable as error:
            raise refused(error) from error
        if session is not None and not self._runs_here and session.last_seq > self._log().last_seq:
            self._disown()
            self._log().advance(session.last_seq)

    async def _call_stop(self, way: StopWay) -> None:
        """Ask the node that runs a turn here to stop it; a hint, and repeated by who needs it."""
        services = self._services
        with suppress(StoreUnavailable):
            turn = await services.store.running_turn(self._id)
            if turn is not None and services.calls is not None:
                await services.calls.stop(self._id, turn.id, way)

    async def _call_read(self, turn_id: str) -> None:
        """Let the node that runs the turn know that somebody reads it here."""
        if self._services.calls is not None:
            with suppress(StoreUnavailable):
                await self._services.calls.read(self._id, turn_id)

    async def _seize(self, do: Callable[..., Awaitable[None]], *args: object) -> None:
        """Do something as the session's owner, after what another node runs in it was stopped. No turn runs here.

        Only the wait is bounded: what was begun is not broken off, since it is then perhaps done, and nobody knows.
        """
        until = trio.current_time() + SEIZE_BOUND
        while trio.current_time() < until:
            async with self._owning:
                await self._take()
                if self._owned:
                    try:
                        return await do(*args)
                    except Fenced:
                        self._disown()
            await self._call_stop(StopWay.CANCEL)
            await trio.sleep(LOOK_EVERY)
        raise Unavailable(NOT_STOPPED, retry_after=1.0)

    def _keep_following(self) -> None:
        if not self._following:
            self._following = True
            self.work(self._follow, name="follow")

    async def _follow(self) -> None:
        """Show readers what another node writes, until the session is ours again or nobody reads it here."""
        store, told = self._services.store, -math.inf
        try:
            while not self._owned:
                if self._runs_here:  # a turn that was lost: its last words may still be on their way to the log
                    await trio.sleep(LOOK_EVERY)
                    continue
                try:
                    turn = await store.running_turn(self._id)
                    session = await store.load(self._id)
                except StoreUnavailable as error:
                    await trio.sleep(error.retry_after)
                    continue
                if self._owned or session is None:
                    return
                self._adopt(session, owned=False)
                readers = self._log().readers
                if not readers:
                    return  # the next one makes us look again
                if turn is not None and trio.current_time() >= told + CALL_EVERY:
                    told = trio.current_time()
                    await self._call_read(turn.id)
                await trio.sleep(LOOK_EVERY if turn is not None else LOOK_IDLE)
        finally:
            self._following = False
