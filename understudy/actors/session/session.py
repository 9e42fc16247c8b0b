"""One live conversation.

Longer than most files: turns are one state machine, whose states only make sense side by side. How a turn begins is in
`opening`, what it does in `turn`, who waits for it in `running`, how its events are written in `recorder`, what is
done because there are other nodes in `shared`, and what is done between two turns in `succession`.
"""

import math
from collections.abc import Mapping, Sequence

import attrs
import trio

from understudy.actors.agents.config import AgentConfig
from understudy.actors.agents.messages import AGENTS, ResolveAgent
from understudy.actors.errors import (
    Conflict,
    Detail,
    DomainError,
    Invalid,
    NotFound,
    RateLimited,
    TurnCancelled,
    Unavailable,
)
from understudy.actors.metrics.messages import METRICS, TurnBegan
from understudy.actors.presence.messages import PRESENCE, AnnouncePresence, PresenceChanged, PresenceGone
from understudy.actors.serving import ANOTHER_IS_AWAY, refused
from understudy.actors.session.aftermath import tell_of_end
from understudy.actors.session.chronicle import Chronicle
from understudy.actors.session.compacting import Compactor
from understudy.actors.session.context import HISTORY_LIMIT, window_of
from understudy.actors.session.conversation import Conversation
from understudy.actors.session.ending import (
    CANCELLED_BY_REQUEST,
    CANCELLED_UNREAD,
    COMPLETED,
    LOST,
    ROLLED_BACK,
    STOPPED,
    TIMED_OUT,
    Ending,
    failed,
)
from understudy.actors.session.messages import (
    DIRECTORY,
    STOPPED_BY_NEXT,
    Cancelled,
    CancelTurn,
    Left,
    OnBusy,
    Presence,
    ReadElsewhere,
    StartTurn,
    StopHere,
    StopWay,
    TurnStarted,
    session_address,
)
from understudy.actors.session.opening import Opening
from understudy.actors.session.replay import find_replay
from understudy.actors.session.running import OpeningLost, Running, Unread
from understudy.actors.session.services import SessionServices
from understudy.actors.session.shared import (
    CALL_EVERY,
    LOOK_EVERY,
    NOT_STOPPED,
    SEIZE_BOUND,
    TRIES,
    is_ours,
    take,
)
from understudy.actors.session.succession import TRY_AGAIN, SucceededSession
from understudy.actors.session.toolcalls import AWAITING
from understudy.actors.session.turn import Turn
from understudy.runtime import Deferred, EventLog, Exit, Numbered, Raised, WorkDone, current_context, receive
from understudy.storage.errors import Fenced, StoreConflict, StoreUnavailable
from understudy.storage.records import IdempotencyKey, RunEvent, SessionStatus, TurnStatus, new_id

MAX_QUEUE = 16
"""Messages that may wait behind a running turn."""

BUSY = "the session is busy with another turn"


class SessionActor(SucceededSession):
    """One conversation: runs its turns one at a time, keeps its event log, owns its history.

    Restarted, it takes the session over under a new epoch and ends the turn that its predecessor left running. While
    another node runs a turn in it, this one only shows its readers what is written there; see `shared`.
    """

    def __init__(self, session_id: str, services: SessionServices) -> None:
        super().__init__(session_id, services)
        self._state = "idle"
        self._since = services.now()

    async def started(self) -> None:
        """Claim the session and end an orphaned turn. Raises `NotFound` for an unknown session, which asks then get."""
        session = await take(self._id, self._services)
        if session is None:
            raise NotFound("there is no such session")
        self.events = EventLog[RunEvent](last_seq=session.last_seq, history=self._read_events)
        self.events.on_readers(self._readers_changed)
        self._adopt(session, owned=is_ours(session, self._services))

    async def stopping(self, reason: Exit) -> None:
        """Leave presence. A running turn is cancelled with the actor; the next incarnation ends it."""
        self.system.tell(PRESENCE, PresenceGone(self._id))

    def snapshot(self) -> Mapping[str, object]:
        """What an operator may see: never the content."""
        running = self._current
        return {
            "state": self._state,
            "status": self._session.status.value if self._session else "unknown",
            "epoch": self._session.epoch if self._session else None,
            "owned": self._owned,
            "turn": running.turn.id if running and running.turn else None,
            "queued": len(self._queue),
            "lastSeq": self.events.last_seq if self.events else 0,
            "readers": self.events.readers if self.events else 0,
            "messagesCached": len(self._conversation.messages) if self._conversation else 0,
            "summarised": bool(self._conversation and self._conversation.summary),
        }

    # --- what can be asked -------------------------------------------------------------------------------------

    @receive
    def start_turn(self, message: StartTurn) -> Deferred[TurnStarted]:
        """Run it now, later or not at all, as its ``on_busy`` says."""
        session = self._require()
        if self._successor is not None:
            return self.forward(session_address(self._successor), message)
        if session.status is SessionStatus.ARCHIVED:
            self.system.tell(DIRECTORY, Left(message.key, self._id))
            return self.forward(DIRECTORY, message)
        if "\x00" in message.message:
            raise Invalid(
                "message: a NUL character cannot be stored", details=(Detail("message", "invalid_character"),)
            )
        started = self.defer(message)
        if message.request_id is None:
            here = current_context()
            message = attrs.evolve(message, request_id=here.request_id, traceparent=here.trace)
        if message.idempotency is not None:
            # A repeated request gets the first one's turn at once, whatever runs meanwhile.
            self.work(self._replay_or_admit, message, started, message.idempotency, name="replay")
        else:
            self._admit(message, started)
        return started

    @receive
    def cancel_turn(self, message: CancelTurn) -> Cancelled | Deferred[Cancelled]:
        """Stop the running turn and all that waits; answered when the session is quiet."""
        self._require(message.uid)
        running = self._current
        if message.turn_id is None:
            self._drop_queue()
        if running is None or running.abroad:
            if running is not None and message.turn_id is None:
                running.cancel(CANCELLED_BY_REQUEST)
            return self.answer(message, self._cancel_elsewhere, message)
        if message.turn_id is not None and (running.turn is None or running.turn.id != message.turn_id):
            return self._quiet(None)
        deferred = self.defer(message)
        running.on_quiet.append(lambda: deferred.reply(self._quiet(running)))
        running.cancel(CANCELLED_BY_REQUEST)
        return deferred

    @receive
    def announce(self, message: AnnouncePresence) -> None:
        """Presence has forgotten us: say again what we do."""
        if self._session is not None and self._current is not None:
            self._tell_presence()

    @receive
    def stop_here(self, message: StopHere) -> None:
        """Another node was asked to stop the turn that runs here, or needs its place."""
        running = self._current
        if running is not None and running.turn is not None and running.turn.id == message.turn_id:
            if message.way is StopWay.CANCEL:
                self._drop_queue()
            running.cancel(STOPPED[message.way])

    @receive
    def read_elsewhere(self, message: ReadElsewhere) -> None:
        """A reader at another node counts as one."""
        running = self._current
        if running is not None and running.turn is not None and running.turn.id == message.turn_id:
            running.read_elsewhere = trio.current_time()

    # --- the turn's way ----------------------------------------------------------------------------------------

    def _admit(self, message: StartTurn, started: Deferred[TurnStarted]) -> None:
        if self._successor is not None:
            self._hand_over(message, started)
        elif self._current is None and not self._resetting:
            self._launch(message, started)
        elif message.on_busy is OnBusy.REJECT:
            started.fail(Conflict(BUSY))
        elif len(self._queue) >= MAX_QUEUE:
            started.fail(RateLimited("too many messages wait for this session", retry_after=1.0))
        elif self._current is not None and (way := STOPPED_BY_NEXT.get(message.on_busy)) is not None:
            self._queue.appendleft((message, started))
            if self._current.abroad:
                self.work(self._call_stop, way, name="stop")
            else:
                self._current.cancel(STOPPED[way])
        else:
            self._queue.append((message, started))

    def _launch(self, message: StartTurn, started: Deferred[TurnStarted]) -> None:
        if message.key != self._require().key:
            # Meant for the agent who had this conversation before: with him, it is another one now.
            self.system.tell(DIRECTORY, Left(message.key, self._id))
            started.forward(DIRECTORY, message)
            return
        running = Running(message, started)
        self._current = running
        self.work(self._run, running, name="turn", tag=running)

    async def _replay_or_admit(self, message: StartTurn, started: Deferred[TurnStarted], key: IdempotencyKey) -> None:
        try:
            replay = await find_replay(self._services.store, key)
            if replay is not None:
                await self._refresh()
        except StoreUnavailable as error:
            started.fail(refused(error))  # and no more: a turn may be running here, which waits for the database
        except DomainError as refusal:
            started.fail(refusal)
        else:
            if replay is not None:
                started.reply(replay)
            else:
                self._admit(message, started)

    async def _run(self, running: Running) -> None:
        """Linked work: the whole life of one turn. Cancelling its scope ends it in good order; killing it does not."""
        try:
            await self._live(running)
        except Fenced:
            # The session is another node's, which took ours for dead: it ends the turn, and what it writes is shown.
            self._disown()
            running.status = LOST.status
            if running.turn is not None:
                tell_of_end(self.system, None, running.turn, LOST, self._services.now())

    async def _live(self, running: Running) -> None:
        ending: Ending | None = None
        try:
            with running.scope:
                await self._open(running)
                if running.turn is None:
                    return
                running.scope.deadline = trio.current_time() + self._services.turn_timeout
                ending = await self._converse(running.turn)
        except DomainError as refusal:
            running.started.fail(refusal)
            return
        turn = running.turn
        if turn is None:
            running.started.fail(TurnCancelled("the turn was cancelled before it began"))
            if running.offered:
                raise OpeningLost
            return
        ending = ending or running.why or TIMED_OUT
        finished_at = await turn.close(ending)
        running.status = ending.status
        self._session = attrs.evolve(self._require(), last_active_at=finished_at)
        tell_of_end(self.system, self._services.health, turn, ending, finished_at)

    async def _converse(self, turn: Turn) -> Ending:
        try:
            await turn.converse()
        except DomainError as error:
            return failed(error)
        return COMPLETED

    async def _open(self, running: Running) -> None:
        """Begin the turn, in a session that is ours; waits for the end of one that another node runs in it.

        Raises the `DomainError` the asker is refused with.
        """
        message, tries = running.message, TRIES
        called = -math.inf
        while tries:
            async with self._owning:
                if not self._owned:
                    await self._take()
                running.abroad = not self._owned
                if self._owned:
                    if self._is_elsewhere(message.key):
                        running.started.forward(DIRECTORY, message)
                        return
                    try:
                        running.turn = await self._begin(running)
                    except Fenced:
                        running.offered = False
                        self._disown()
                        tries -= 1
                        continue
                    return
            if message.on_busy is OnBusy.REJECT:
                raise Conflict(BUSY)
            if running.started.expired:
                raise Unavailable("the turn that another server runs took too long", retry_after=1.0)
            way = STOPPED_BY_NEXT.get(message.on_busy)
            if way is not None and trio.current_time() >= called + CALL_EVERY:
                called = trio.current_time()
                await self._call_stop(way)
            await trio.sleep(LOOK_EVERY * self.system.rng.uniform(0.5, 1.5))
        raise Unavailable(TRY_AGAIN, retry_after=1.0)

    async def _begin(self, running: Running) -> Turn | None:
        """Record the question and the turn, and answer the asker; None when it was answered otherwise.

        Cancelled before the record was offered: nothing is changed. Raises the `DomainError` the asker is refused with,
        and `Fenced`: nothing was recorded, and the asker not answered.
        """
        services, message = self._services, running.message
        chronicle = Chronicle(
            services.prices, services.now, request_id=message.request_id, traceparent=message.traceparent
        )
        self._set_state("thinking")
        opening = Opening(self._require(), running, services, self._set_state)
        key = opening.session.key
        try:
            config: AgentConfig = await self.system.ask(AGENTS, ResolveAgent(key.workspace_id, key.agent_id))
        except ANOTHER_IS_AWAY as fault:
            raise refused(fault) from fault
        if message.delegated is not None:
            config = message.delegated.narrow(config)
        if opening.must_start_anew(config):
            await self._replace()
            self._hand_over(message, running.started)
            return None
        preface = await opening.admit(config)
        conversation = await self._recollect()
        try:
            recorded = await opening.record(config, conversation, self._log(), preface, chronicle, new_id("trn"))
        except StoreConflict:
            running.offered = False
            if (
                message.idempotency is None
                or (replay := await find_replay(self._services.store, message.idempotency)) is None
            ):
                raise Conflict("this idempotency key is in use") from None
            running.started.reply(replay)
            return None
        if recorded is None:
            running.started.fail(Unavailable("the database is away; try again", retry_after=1.0))
            raise OpeningLost
        turn = recorded.turn
        self._session = turn.session
        conversation.messages.append(recorded.question)
        running.started.reply(TurnStarted(turn.id, turn.session.id, recorded.is_new, recorded.first_seq))
        self._watch_readers(running)
        self.system.tell(METRICS, TurnBegan(key.agent_id))
        return turn

    async def _recollect(self) -> Conversation:
        """What was said so far; read from the database when nobody has asked for it since the actor started."""
        if self._conversation is None:
            try:
                said = await self._services.store.messages(self._id, limit=HISTORY_LIMIT)
            except StoreUnavailable as error:
                raise refused(error) from error
            self._conversation = Conversation([m for m in said if not m.compacted], self._require().summary)
        return self._conversation

    @receive
    def work_done(self, message: WorkDone) -> None:
        """A turn or another piece of work ended; an error nobody expected ends this incarnation."""
        if isinstance(message.outcome, Raised):
            raise message.outcome.error
        running = message.work.tag
        if isinstance(running, Running):
            self._turn_over(running)

    def _turn_over(self, running: Running) -> None:
        if running.unread is not None:
            running.unread.cancel()
        if self._conversation is not None:
            if running.turn is not None and running.why is ROLLED_BACK:
                self._conversation.take_back(running.turn.id)
            self._conversation.trim()
        self._current = None
        self._set_state("idle")
        for tell in running.on_quiet:
            tell()
        self._next()
        if running.turn is not None:
            self._make_room_ahead(running.turn)

    def _make_room_ahead(self, turn: Turn) -> None:
        """Put the beginning of a conversation that grows long into a summary, beside whatever comes next."""
        conversation, thresholds = self._conversation, self._services.thresholds
        if conversation is None or not thresholds.soft <= turn.fullness or conversation.compacting.locked():
            return
        self._compacting = self.work(self._compact, turn, conversation, name="compaction")

    async def _compact(self, turn: Turn, conversation: Conversation) -> None:
        async with conversation.compacting:
            session, room = self._require(), window_of(turn.config, self._services.window).room
            try:
                await Compactor(self._services).compact(session, turn.config, conversation, room, turn.id)
            except Fenced:
                self._disown()  # whoever has the session now makes its summaries

    def _next(self) -> None:
        while self._queue and self._current is None and not self._resetting:
            message, started = self._queue.popleft()
            if self._successor is not None:
                self._hand_over(message, started)
            elif not started.expired:
                self._launch(message, started)

    async def _cancel_elsewhere(self, message: CancelTurn) -> Cancelled:
        """Have the turn stopped that another node runs; answered when it is."""
        store = self._services.store
        turn = await store.running_turn(self._id)
        if turn is None or message.turn_id not in {None, turn.id}:
            await self._refresh()
            return self._quiet(None)
        way = StopWay.CANCEL if message.turn_id is None else StopWay.CANCEL_ONE
        with trio.move_on_after(SEIZE_BOUND):
            while True:
                await self._take_unless_running()  # which ends it, when its node is gone
                ended = await store.turn(turn.id)
                if ended is None or ended.status is not TurnStatus.RUNNING:
                    await self._refresh()
                    return Cancelled(self._id, turn.id, ended.status if ended else None, self._log().last_seq)
                if self._runs_here:
                    self.stop_here(StopHere(turn.id, way))
                else:
                    await self._call_stop(way)
                await trio.sleep(LOOK_EVERY)
        raise Unavailable(NOT_STOPPED, retry_after=1.0)

    # --- readers -----------------------------------------------------------------------------------------------

    async def _read_events(self, after: int, limit: int) -> Sequence[Numbered[RunEvent]]:
        return [Numbered(e.seq, e) for e in await self._services.store.events(self._id, after, limit)]

    def _readers_changed(self, count: int) -> None:
        if self._current is not None:
            self._watch_readers(self._current)
        if count and not self._owned:
            self._keep_following()

    def _watch_readers(self, running: Running) -> None:
        """Start or stop the clock that ends a turn which nobody reads."""
        if running.unread is not None:
            running.unread.cancel()
            running.unread = None
        if running.turn is None and not running.started.done:
            return
        if running.message.grace is not None and not self._log().readers:
            running.unread = self.after(running.message.grace, Unread(running))

    @receive
    def unread(self, message: Unread) -> None:
        """The grace of a turn is over. One that waits for somebody's consent goes on, however long nobody reads it."""
        running = message.running
        if running is not self._current or self._log().readers:
            return
        grace = max(running.message.grace or 0.0, 1.0)
        if self._state == AWAITING or trio.current_time() < running.read_elsewhere + grace:
            running.unread = self.after(grace, message)
        else:
            running.cancel(CANCELLED_UNREAD)

    # --- small things ------------------------------------------------------------------------------------------

    def _quiet(self, running: Running | None) -> Cancelled:
        turn = running.turn if running else None
        return Cancelled(
            session_id=self._id,
            turn_id=turn.id if turn else None,
            status=running.status if running else None,
            last_seq=self._log().last_seq,
        )

    def _set_state(self, state: str) -> None:
        if state != self._state:
            self._state, self._since = state, self._services.now()
            self.status = state
            self._tell_presence()

    def _tell_presence(self) -> None:
        if self._successor is not None:
            return  # archived: the agent works in the successor now, and there only
        session = self._require()
        key = session.key
        self.system.tell(
            PRESENCE,
            PresenceChanged(Presence(key.agent_id, session.id, key.workspace_id, key.uid, self._state, self._since)),
        )
