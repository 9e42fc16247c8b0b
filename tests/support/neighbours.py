"""The actors that HTTP talks to, as small as their messages allow: a real system, real mailboxes, no database.

What they answer is decided by plain words in the request, so that a test reads as what it asks for.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import attrs
import httpx

from tests.support.server import Running, serving
from tests.support.talks import NOW, Directory, Talk
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
from understudy.actors.errors import Conflict, Detail, Forbidden, Invalid, TokenReplay, Unauthenticated
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
    RunEvent,
)
from understudy.actors.workspaces.messages import (
    ListWorkspaces,
    ResolveWorkspace,
    Workspace,
    WorkspaceRole,
    WorkspaceView,
)
from understudy.http.app import create_app
from understudy.http.settings import HttpSettings
from understudy.runtime import (
    Actor,
    ActorSystem,
    ChildSpec,
    DynamicSpec,
    Restart,
    SupervisorSpec,
    receive,
)

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
