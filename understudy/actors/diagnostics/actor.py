"""The actor that says how the node is."""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import ClassVar

import trio

from understudy.actors.clock import utc_now, written
from understudy.actors.diagnostics.check import Check, run_checks, worst
from understudy.actors.diagnostics.health import Condition, look
from understudy.actors.diagnostics.messages import (
    DIAGNOSTICS,
    BreakerState,
    CircuitBreakers,
    DiagnosticHistory,
    DiagnosticRun,
    Draining,
    Health,
    HealthReport,
    Readiness,
    Ready,
    Report,
    RunDiagnostics,
)
from understudy.actors.diagnostics.ports import Engine, Runs
from understudy.actors.diagnostics.providers import breakers
from understudy.actors.metrics.messages import METRICS, CountConnections
from understudy.actors.serving import Server
from understudy.runtime import ActorSystem, ChildSpec, Deferred, RuntimeFault, receive
from understudy.storage.errors import StorageError
from understudy.storage.records import new_id

FRESH = 2.0
"""Seconds that a look at the engines is good for."""
STORE_WITHIN = 1.0
"""Seconds that storing a run may add to it."""
QUICK = 1.8
"""Seconds that a check of the quick run may take: the whole run is promised within two."""


class Diagnostics(Server):
    """Runs the checks, keeps the reports, and answers for the node's health.

    However many ask at once, the engines are looked at once.
    """

    mailbox_limit: ClassVar[int] = 5_000

    def __init__(
        self,
        checks: Sequence[Check],
        engine: Engine,
        runs: Runs,
        now: Callable[[], datetime] = utc_now,
        providers: Collection[str] = (),
        index: Callable[[], str] | None = None,
    ) -> None:
        self._checks = tuple(checks)
        self._providers = tuple(providers)
        self._engine = engine
        self._index = index
        self._runs = runs
        self._now = now
        self._condition: Condition | None = None
        self._looking = False
        self._awaiting_health: list[Deferred[HealthReport]] = []
        self._awaiting_readiness: list[Deferred[Ready]] = []
        self._draining = False

    @receive
    def run(self, message: RunDiagnostics) -> Deferred[Report]:
        """Run the checks, beside the mailbox."""
        return self.answer(message, self._run_full if message.full else self._run_quick)

    @receive
    def history(self, message: DiagnosticHistory) -> Deferred[tuple[DiagnosticRun, ...]]:
        """The stored runs."""
        return self.answer(message, self._runs.last, message.limit)

    @receive
    def circuit_breakers(self, message: CircuitBreakers) -> Deferred[tuple[BreakerState, ...]]:
        """How each provider's breaker stands."""
        return self.answer(message, breakers, self.system, self._providers)

    @receive
    def health(self, message: Health) -> HealthReport | Deferred[HealthReport]:
        """What the engines say, or said a moment ago."""
        condition = self._fresh()
        if condition is not None:
            return _health(condition)
        deferred = self.defer(message)
        self._awaiting_health.append(deferred)
        self._look()
        return deferred

    @receive
    def readiness(self, message: Readiness) -> Ready | Deferred[Ready]:
        """Whether requests should come here."""
        if self._draining:
            return Ready(ready=False, reason="the server is stopping")
        condition = self._fresh()
        if condition is not None:
            return _ready(condition)
        deferred = self.defer(message)
        self._awaiting_readiness.append(deferred)
        self._look()
        return deferred

    @receive
    def draining(self, message: Draining) -> None:
        """From now on: not ready."""
        self._draining = True

    def snapshot(self) -> Mapping[str, object]:
        """Which checks there are, and what the engines said last."""
        return {
            "checks": [check.name for check in self._checks],
            "condition": None if self._condition is None else dict(self._condition.checks),
            "draining": self._draining,
        }

    def _fresh(self) -> Condition | None:
        condition = self._condition
        if condition is None or trio.current_time() - condition.seen_at > FRESH:
            return None
        return condition

    def _look(self) -> None:
        if not self._looking:
            self._looking = True
            self.work(self._look_once, name="look")

    async def _look_once(self) -> None:
        condition = await look(self._engine, await self._connections(), self._now, self._index)
        self._condition = condition
        self._looking = False
        asked, self._awaiting_health = self._awaiting_health, []
        for health in asked:
            health.reply(_health(condition))
        wondering, self._awaiting_readiness = self._awaiting_readiness, []
        for readiness in wondering:
            readiness.reply(_ready(condition))

    async def _connections(self) -> int:
        try:
            return (await self.system.ask(METRICS, CountConnections(), timeout=0.2)).websockets
        except RuntimeFault:
            return 0  # the metrics are between two lives: nobody has told them of a socket

    async def _run_full(self) -> Report:
        report = await _report(self._checks, self.system, "full", self._now, None)
        # A run that finds the database away cannot be stored, and is all the more wanted.
        with trio.move_on_after(STORE_WITHIN), contextlib.suppress(StorageError):
            await self._runs.add(DiagnosticRun(report.id, report.status.value, report.started_at, as_json(report)))
        return report

    async def _run_quick(self) -> Report:
        quick = [check for check in self._checks if check.quick]
        return await _report(quick, self.system, "quick", self._now, QUICK)


async def _report(
    checks: Sequence[Check], system: ActorSystem, kind: str, now: Callable[[], datetime], within: float | None
) -> Report:
    started_at, began = now(), trio.current_time()
    results = await run_checks(checks, system, within)
    elapsed = trio.current_time() - began
    return Report(new_id("dgn"), kind, worst(results), started_at, round(elapsed * 1000, 3), results)


def as_json(report: Report) -> Mapping[str, object]:
    """The report in the words of the API: what is stored, and what ``GET /diagnostics`` answers."""
    return {
        "id": report.id,
        "kind": report.kind,
        "status": report.status.value,
        "startedAt": written(report.started_at),
        "durationMs": report.duration_ms,
        "checks": [
            {
                "name": check.name,
                "status": check.status.value,
                "message": check.message,
                "durationMs": check.duration_ms,
                "hint": check.hint,
            }
            for check in report.checks
        ],
        "summary": dict(report.summary),
    }


def _health(condition: Condition) -> HealthReport:
    return HealthReport(
        status="ok" if condition.well else "degraded",
        checks=condition.checks,
        engines=condition.engines,
        ws_connections=condition.ws_connections,
        timestamp=condition.timestamp,
    )


def _ready(condition: Condition) -> Ready:
    away = [name for name, state in condition.checks.items() if state != "ok"]
    return Ready(ready=False, reason=f"no answer from {', '.join(away)}") if away else Ready(ready=True)


def diagnostics_spec(
    checks: Sequence[Check],
    *,
    engine: Engine,
    runs: Runs,
    now: Callable[[], datetime] = utc_now,
    providers: Collection[str] = (),
    index: Callable[[], str] | None = None,
) -> ChildSpec:
    """The child at `DIAGNOSTICS`, which runs *checks* and answers for *engine* and the *providers*' breakers.

    *index* says what the search of memory stands on beside it.
    """
    return ChildSpec(DIAGNOSTICS, Diagnostics, args=(tuple(checks), engine, runs, now, tuple(providers), index))
