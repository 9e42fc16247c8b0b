"""The actors that HTTP talks to, as small as their messages allow: a real system, real mailboxes, no database.

What they answer is decided by plain words in the request, so that a test reads as what it asks for.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import httpx
import trio

from tests.support.server import Running, serving
from understudy.actors.diagnostics.messages import (
    BreakerState,
    CheckResult,
    CheckStatus,
    CircuitBreakers,
    DiagnosticHistory,
    DiagnosticRun,
    Health,
    HealthReport,
    Readiness,
    Ready,
    Report,
    RunDiagnostics,
)
from understudy.actors.errors import Conflict, Detail, Forbidden, Invalid, NotFound, TokenReplay, Unauthenticated
from understudy.actors.idempotency.messages import Begin, Begun, Complete, Fresh, Release, Stored
from understudy.actors.identity.messages import (
    Authenticate,
    AuthenticateKey,
    KeyPrincipal,
    Login,
    Logout,
    Principal,
    Refresh,
    Register,
    SignedIn,
    TokenPair,
    UserView,
)
from understudy.actors.limits.messages import Allowance, Take
from understudy.actors.metrics.messages import Exposition, MetricsView, RequestServed, Snapshot
from understudy.actors.presence.messages import ListPresence, Presence
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
from understudy.actors.workspaces.messages import (
    ListWorkspaces,
    ResolveWorkspace,
    Workspace,
    WorkspaceRole,
    WorkspaceView,
)
from understudy.http.app import create_app
from understudy.http.limits import WireLimits
from understudy.http.settings import HttpSettings
from understudy.runtime import (
    Actor,
    ActorSystem,
    Ask,
    ChildSpec,
    DynamicSpec,
    EventLog,
    Numbered,
    Restart,
    SupervisorSpec,
    current_context,
    receive,
)
from understudy.storage.records import Role

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = "the-internal-key"
USER = UserView("usr_mira", "mira@example.org", "Mira", NOW)


class Identity(Actor):
    """Tokens are ``good-<uid>``."""

    @receive
    def authenticate(self, message: Authenticate) -> Principal:
        if not message.token.startswith("good-"):
            raise Unauthenticated("The access token is not valid")
        return Principal(message.token.removeprefix("good-"), "jti", NOW, NOW + timedelta(minutes=15))

    @receive
    def key(self, message: AuthenticateKey) -> KeyPrincipal:
        if message.key != KEY:
            raise Unauthenticated("The key is not valid")
        return KeyPrincipal("seed", ("*",))

    @receive
    def register(self, message: Register) -> SignedIn:
        if message.email.startswith("taken@"):
            raise Conflict("The e-mail is taken")
        if len(message.password) < 6:
            raise Invalid("The password is too short", details=(Detail("password", "too_short"),))
        return SignedIn(attrs.evolve(USER, email=message.email), "good-usr_mira", "refresh", "ws_mira")

    @receive
    def login(self, message: Login) -> SignedIn:
        if message.password != "correct horse":
            raise Unauthenticated("E-mail or password is wrong")
        return SignedIn(USER, "good-usr_mira", "refresh", "ws_mira")

    @receive
    def refresh(self, message: Refresh) -> TokenPair:
        if message.refresh_token == "spent":
            raise TokenReplay("The refresh token was used before")
        return TokenPair("good-usr_mira", "refresh-2")

    @receive
    def logout(self, message: Logout) -> None:
        if message.access_token is None and message.refresh_token is None:
            raise Unauthenticated("Neither token was given")


class Workspaces(Actor):
    """Everybody belongs to ``ws_mira``; it is an owner's."""

    view = WorkspaceView(Workspace("ws_mira", "Mira", "usr_mira", "personal", NOW), WorkspaceRole.OWNER)

    @receive
    def every(self, message: ListWorkspaces) -> tuple[WorkspaceView, ...]:  # type: ignore[override]
        return (self.view,)

    @receive
    def resolve(self, message: ResolveWorkspace) -> WorkspaceView:
        if message.workspace_id not in {None, "ws_mira"}:
            raise Forbidden("You are not a member of this workspace")
        return self.view


class Limits(Actor):
    """Lets a number of requests through, then none."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.left = tokens

    @receive
    def take(self, message: Take) -> Allowance:
        self.left -= 1
        return Allowance(self.left >= 0, self.tokens, max(0, self.left), 59.5, 0.0 if self.left >= 0 else 12.3)


class Idempotency(Actor):
    """Keeps answers for its life."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[bytes, Stored]] = {}

    @receive
    def begin(self, message: Begin) -> Begun:
        kept = self.kept.get(message.key.key)
        if kept is None:
            return Fresh()
        if kept[0] != message.key.request_hash:
            raise Conflict("The key was used with another body")
        return kept[1]

    @receive
    def complete(self, message: Complete) -> None:
        self.kept[message.key.key] = (
            message.key.request_hash,
            Stored(message.status_code, message.body, message.headers),
        )

    @receive
    def release(self, message: Release) -> None:
        self.kept.pop(message.key.key, None)


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


class Diagnostics(Actor):
    """Everything is well, but for the search index."""

    @receive
    def run(self, message: RunDiagnostics) -> Report:
        check = CheckResult("database", CheckStatus.PASS, "answers", 1.5)
        return Report("dgn_1", "full" if message.full else "quick", CheckStatus.PASS, NOW, 2.0, (check,))

    @receive
    def history(self, message: DiagnosticHistory) -> tuple[DiagnosticRun, ...]:
        return (DiagnosticRun("dgn_1", "pass", NOW, {"id": "dgn_1", "status": "pass"}),)

    @receive
    def breakers(self, message: CircuitBreakers) -> tuple[BreakerState, ...]:
        return (BreakerState("claude", "open", 5, 0, NOW, NOW + timedelta(minutes=1), "claude answered 529"),)

    @receive
    def health(self, message: Health) -> HealthReport:
        checks = {"typesense": "error", "postgres": "ok"}
        return HealthReport("degraded", checks, {"typesense": "PostgreSQL full text"}, 0, NOW)

    @receive
    def ready(self, message: Readiness) -> Ready:
        return Ready(ready=True)


class Metrics(Actor):
    """Some numbers."""

    @receive
    def numbers(self, message: Snapshot) -> MetricsView:
        return MetricsView(1.5, 0, 3, 0, 1, 2, 4, "2026-11", 0.25, 5, 6)

    @receive
    def served(self, message: RequestServed) -> None:
        assert "ses_" not in message.route

    @receive
    def text(self, message: Exposition) -> bytes:
        return b"understudy_up 1\n" + (b"# EOF\n" if message.openmetrics else b"")


class PresenceBoard(Actor):
    """One agent thinks."""

    @receive
    def all(self, message: ListPresence) -> tuple[Presence, ...]:
        return (Presence("chad", "ses_1", message.workspace_id, message.uid, "thinking", NOW),)


@attrs.define
class Api:
    """The platform's routes over the neighbours, on a real socket."""

    running: Running
    system: ActorSystem
    logs: dict[str, list[RunEvent]]
    client: httpx.AsyncClient


@asynccontextmanager
async def serving_api(*, tokens: int = 10_000, chatter: int = 100, **settings: Any) -> AsyncIterator[Api]:
    """Serve the application on neighbours that are all there. *settings* are those of `HttpSettings`."""
    logs: dict[str, list[RunEvent]] = {}
    http = HttpSettings(**settings)
    async with ActorSystem("http tests", max_restarts=100) as system:
        for address, actor, *args in (
            ("identity", Identity),
            ("workspaces", Workspaces),
            ("limits", Limits, tokens),
            ("idempotency", Idempotency),
            ("diagnostics", Diagnostics),
            ("presence", PresenceBoard),
        ):
            await system.spawn(ChildSpec(address, actor, args=tuple(args)))

        await system.spawn(SupervisorSpec("telemetry", children=(ChildSpec("metrics", Metrics),)))
        await system.spawn(
            DynamicSpec(
                "talks", "session", lambda _: ChildSpec("talk", Talk, (logs, chatter), restart=Restart.TRANSIENT)
            )
        )
        await system.spawn(SupervisorSpec("sessions", children=(ChildSpec("directory", Directory, (logs,)),)))
        async with (
            serving(create_app(system, settings=http), http.wire) as running,
            httpx.AsyncClient(base_url=running.url, verify=False, timeout=15) as client,
        ):
            yield Api(running, system, logs, client)


AUTH = {"Authorization": "Bearer good-mira"}
OPERATOR = {"X-Api-Key": KEY}

__all__ = ["AUTH", "KEY", "OPERATOR", "Api", "WireLimits", "serving_api"]
