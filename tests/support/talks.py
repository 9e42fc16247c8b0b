"""Conversations without a model: a directory and sessions that say what they are told to."""

from datetime import UTC, datetime
from typing import Any

import attrs
import trio

from understudy.actors.errors import Conflict, Detail, Invalid, NotFound
from understudy.actors.session.messages import (
    AuthorizeSession,
    Cancelled,
    CancelTurn,
    GetSession,
    ListSessions,
    Message,
    Reset,
    ResetDone,
    ResumeStream,
    RunEvent,
    Session,
    SessionDetail,
    SessionKey,
    SessionPage,
    SessionStatus,
    StartTurn,
    TurnStarted,
    TurnStatus,
)
from understudy.runtime import (
    Actor,
    Ask,
    EventLog,
    Numbered,
    current_context,
    receive,
)
from understudy.storage.records import Role

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@attrs.frozen
class Consent:
    """Somebody agreed to the call that waits for it."""


@attrs.frozen
class CountReaders(Ask[int]):
    """How many read the session's events."""


@attrs.frozen
class Play(Ask[int]):
    """Run a turn; answered with the number of the event before its first."""

    turn_id: str
    message: str


class Talk(Actor):
    """A session: it plays what the message says. Its log survives it, as the database's would."""

    def __init__(self, logs: dict[str, list[RunEvent]], chatter: int) -> None:
        self.logs = logs
        self.chatter = chatter
        self.consent = trio.Event()

    @receive
    def agree(self, message: Consent) -> None:
        self.consent.set()

    @receive
    def count(self, message: CountReaders) -> int:
        return self.events.readers if self.events is not None else 0

    async def started(self) -> None:
        self.kept = self.logs.setdefault(self.address, [])

        async def history(after: int, limit: int) -> list[Numbered[RunEvent]]:
            return [Numbered(e.seq, e) for e in self.kept[after : after + limit]]

        self.events = EventLog(len(self.kept), history=history)

    def emit(self, turn_id: str, kind: str, data: dict[str, Any]) -> None:
        assert self.events is not None
        session_id = self.address.partition("/")[2]
        event = RunEvent(session_id, len(self.kept) + 1, turn_id, kind, data, NOW)
        self.kept.append(event)
        self.events.publish(Numbered(event.seq, event))

    @receive
    def play(self, message: Play) -> int:
        before = len(self.kept)
        session_id = self.address.partition("/")[2]
        self.emit(message.turn_id, "session_resolved", {"sessionId": session_id, "isNew": before == 0})
        if message.message == "crash":
            raise RuntimeError("on purpose")
        if message.message != "silence":
            self.work(self.answer, message)
        return before

    async def answer(self, message: Play) -> None:
        turn = message.turn_id
        words = [f"word{n} " for n in range(self.chatter)] if message.message == "chatter" else ["Good ", "day."]
        for word in words:
            self.emit(turn, "content", {"content": word})
            if message.message == "slowly":
                await trio.sleep(0.05)
        if message.message == "tools":
            self.emit(turn, "tool_call", {"index": 0, "name": "clock", "toolCallId": "tc_1"})
            self.emit(turn, "tool_call_complete", {"index": 0, "name": "clock", "arguments": "{}"})
            self.emit(turn, "tool_result", {"name": "clock", "durationMs": 1, "toolCallId": "tc_1", "ok": True})
        if message.message.startswith("consent"):
            self.emit(turn, "approval_requested", {"requestId": "apr_1", "name": "shell_exec", "toolCallId": "tc_1"})
            await self.consent.wait()
            self.emit(turn, "approval_decided", {"requestId": "apr_1", "toolCallId": "tc_1", "status": "approved"})
            if message.message == "consent and silence":
                return
        if message.message == "fail":
            self.emit(turn, "error", {"message": "The provider failed", "code": "PROVIDER_ERROR"})
        else:
            usage = {"promptTokens": 1, "completionTokens": 2, "totalTokens": 3}
            done = {"content": "".join(words), "sessionId": self.address.partition("/")[2], "usage": usage}
            self.emit(turn, "done", {**done, "toolsUsed": [], "turnId": turn})


class Directory(Actor):
    """Knows who a session belongs to: the words after ``ses_``."""

    def __init__(self, logs: dict[str, list[RunEvent]]) -> None:
        self.logs = logs
        self.turns = 0
        self.answered: dict[str, TurnStarted] = {}
        self.started_with: list[StartTurn] = []

    def session(self, uid: str) -> Session:
        seen = len(self.logs.get(f"session/ses_{uid}", ()))
        key = SessionKey("ws_mira", uid, "chad", "chat", "main")
        return Session(f"ses_{uid}", key, SessionStatus.ACTIVE, NOW, NOW, last_seq=seen)

    def own(self, uid: str, session_id: str) -> Session:
        if session_id != f"ses_{uid}":
            raise NotFound("There is no such session")
        return self.session(uid)

    @receive
    async def start(self, message: StartTurn) -> TurnStarted:
        if message.key.agent_id != "chad":
            raise NotFound(f"There is no agent {message.key.agent_id}")
        if message.message == "busy":
            raise Conflict("The session is in the middle of a turn")
        if message.message == "patience":
            raise Conflict(f"{current_context().deadline - trio.current_time():.0f} s left")
        name = message.idempotency.key if message.idempotency is not None else None
        if name in self.answered:
            return attrs.evolve(self.answered[name], replayed=True)
        self.turns += 1
        session = self.session(message.key.uid)
        play = Play(f"trn_{self.turns}", message.message)
        after = await self.system.ask(f"session/{session.id}", play)
        started = TurnStarted(play.turn_id, session.id, after == 0, after)
        if name is not None:
            self.answered[name] = started
        return started

    @receive
    def resume(self, message: ResumeStream) -> TurnStarted:
        self.own(message.uid, message.session_id)
        log = self.logs.get(f"session/{message.session_id}", [])
        if message.seq > len(log):
            raise Invalid("There is no such event yet", details=(Detail("Last-Event-ID", "in_the_future"),))
        return TurnStarted(log[message.seq - 1].turn_id or "", message.session_id, is_new=False, after=message.seq)

    @receive
    def reset(self, message: Reset) -> ResetDone:
        self.turns += 1
        return ResetDone(None, f"ses_new{self.turns}")

    @receive
    def sessions(self, message: ListSessions) -> SessionPage:
        page = tuple(self.session(message.uid or "usr_1") for _ in range(message.limit))
        return SessionPage(page, 250)

    @receive
    def detail(self, message: GetSession) -> SessionDetail:
        session = self.own(message.uid, message.session_id)
        return SessionDetail(session, (Message("msg_1", session.id, None, Role.USER, "Hi", NOW),), None)

    @receive
    def authorize(self, message: AuthorizeSession) -> Session:
        return self.own(message.uid, message.session_id)

    @receive
    def cancel(self, message: CancelTurn) -> Cancelled:
        session = self.own(message.uid, message.session_id)
        return Cancelled(session.id, "trn_1", TurnStatus.CANCELLED, session.last_seq)
