"""`/diagnostics`: checks on demand. For operators."""

from quart import Blueprint

from understudy.actors.diagnostics.messages import (
    DIAGNOSTICS,
    CircuitBreakers,
    DiagnosticHistory,
    Report,
    RunDiagnostics,
)
from understudy.actors.identity.messages import KeyScope
from understudy.http import examples, schemas_node
from understudy.http.access import operator
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import this_request

routes = Blueprint("diagnostics", __name__, url_prefix="/diagnostics")

FULL_PATIENCE = 30.0
"""Seconds for a full run: each check is bounded by itself."""

_BREAKERS = {
    "breakers": [
        {
            "provider": "claude",
            "state": "open",
            "failures": 5,
            "successes": 0,
            "openedAt": "2026-03-02T09:10:00Z",
            "nextAttemptAt": "2026-03-02T09:10:30Z",
            "lastError": "no first token within 30 s",
        }
    ]
}


@routes.get("")
@operation(
    "runDiagnostics",
    Auth.KEY,
    scope=KeyScope.DIAGNOSTICS,
    replies={200: schemas_node.DiagnosticReport},
    reply_example=examples.REPORT,
)
async def run() -> Reply:
    """Run every check. Always 200: what is wrong is in the report, which is kept."""
    request = this_request()
    await operator(request, KeyScope.DIAGNOSTICS)
    return json(_report(await request.node.ask(DIAGNOSTICS, RunDiagnostics(full=True), timeout=FULL_PATIENCE)))


@routes.get("/quick")
@operation(
    "quickDiagnostics",
    Auth.KEY,
    scope=KeyScope.DIAGNOSTICS,
    replies={200: schemas_node.DiagnosticReport},
    reply_example={**examples.REPORT, "kind": "quick"},
)
async def quick() -> Reply:
    """Check connectivity only, within two seconds. Not kept."""
    request = this_request()
    await operator(request, KeyScope.DIAGNOSTICS)
    return json(_report(await request.node.ask(DIAGNOSTICS, RunDiagnostics(full=False))))


@routes.get("/history")
@operation(
    "diagnosticsHistory",
    Auth.KEY,
    scope=KeyScope.DIAGNOSTICS,
    replies={200: schemas_node.DiagnosticHistory},
    reply_example={"runs": [examples.REPORT]},
)
async def history() -> Reply:
    """List the last ten full runs, newest first."""
    request = this_request()
    await operator(request, KeyScope.DIAGNOSTICS)
    runs = await request.node.ask(DIAGNOSTICS, DiagnosticHistory())
    return json(schemas_node.DiagnosticHistory(runs=[dict(run.report) for run in runs]))


@routes.get("/circuit-breakers")
@operation(
    "circuitBreakers",
    Auth.KEY,
    scope=KeyScope.DIAGNOSTICS,
    replies={200: schemas_node.CircuitBreakerList},
    reply_example=_BREAKERS,
)
async def circuit_breakers() -> Reply:
    """See which providers are left alone for having failed too often, and until when."""
    request = this_request()
    await operator(request, KeyScope.DIAGNOSTICS)
    states = await request.node.ask(DIAGNOSTICS, CircuitBreakers())
    shown = [
        schemas_node.CircuitBreaker(
            provider=state.provider,
            state=state.state,
            failures=state.failures,
            successes=state.successes,
            opened_at=state.opened_at,
            next_attempt_at=state.next_attempt_at,
            last_error=state.last_error,
        )
        for state in states
    ]
    return json(schemas_node.CircuitBreakerList(breakers=shown))


def _report(report: Report) -> schemas_node.DiagnosticReport:
    checks = [
        schemas_node.Check(
            name=check.name,
            status=check.status.value,
            message=check.message,
            duration_ms=check.duration_ms,
            hint=check.hint,
        )
        for check in report.checks
    ]
    return schemas_node.DiagnosticReport(
        id=report.id,
        kind=report.kind,
        status=report.status.value,
        started_at=report.started_at,
        duration_ms=report.duration_ms,
        checks=checks,
        summary=dict(report.summary),
    )
