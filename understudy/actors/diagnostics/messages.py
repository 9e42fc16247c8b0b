"""What can be asked about the node's health."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import attrs

from understudy.actors.inference.messages import BreakerState as BreakerState
from understudy.runtime import Ask
from understudy.storage.records import DiagnosticRun as DiagnosticRun

DIAGNOSTICS = "diagnostics"
"""The address of the diagnostics actor."""


class CheckStatus(StrEnum):
    """What a check found."""

    PASS = "pass"  # noqa: S105  # the contract's word for a good result
    WARN = "warn"
    FAIL = "fail"


@attrs.frozen
class CheckResult:
    """One check: what was looked at, what was found, and (when it is not well) what to do."""

    name: str
    status: CheckStatus
    message: str
    duration_ms: float
    hint: str | None = None


@attrs.frozen
class Report:
    """One run of the diagnostics; ``status`` is that of the worst check, ``kind`` is full or quick."""

    id: str
    kind: str
    status: CheckStatus
    started_at: datetime
    duration_ms: float
    checks: tuple[CheckResult, ...]

    @property
    def summary(self) -> Mapping[str, int]:
        """How many checks passed, warned and failed."""
        return {status.value: sum(c.status is status for c in self.checks) for status in CheckStatus}


@attrs.frozen
class RunDiagnostics(Ask[Report]):
    """Run the checks. Full: all of them, and the report is stored. Else connectivity only, within 2 s, not stored.

    Never refused: a check that fails, raises or takes too long is a result in the report. Ask with 30 s for a full run.
    """

    full: bool = True


@attrs.frozen
class DiagnosticHistory(Ask[tuple[DiagnosticRun, ...]]):
    """The newest stored runs, newest first. Refused with `Unavailable`."""

    limit: int = 10


@attrs.frozen
class CircuitBreakers(Ask[tuple[BreakerState, ...]]):
    """The circuit breaker of every configured provider, and of agents' endpoints in use, by name.

    Takes at most 1 s; one that does not answer is ``unknown``.
    Looking wakes nobody: a provider that was never called is ``closed``.
    """


@attrs.frozen
class HealthReport:
    """``status`` is ``ok``, or ``degraded`` when a check is not ``ok`` (then HTTP says 503).

    ``checks`` maps ``typesense`` (the search index) and ``postgres`` to ``ok`` or ``error``; ``engines`` says what
    truly answers behind each name.
    """

    status: str
    checks: Mapping[str, str]
    engines: Mapping[str, str]
    ws_connections: int
    timestamp: datetime


@attrs.frozen
class Health(Ask[HealthReport]):
    """A deep look at what the node stands on: at most 1 s, and at most 2 s old. Never refused."""


@attrs.frozen
class Ready:
    """Whether the node should be sent requests; if not, why."""

    ready: bool
    reason: str | None = None


@attrs.frozen
class Readiness(Ask[Ready]):
    """Whether the node can serve: the database answers and nothing drains. At most 1 s, at most 2 s old."""


@attrs.frozen
class Draining:
    """Tell: the node is about to stop; from now on it is not ready."""
