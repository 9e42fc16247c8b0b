"""The platform's 89 operations: each is served, and described as it is served."""

import pytest

from understudy.http.app import create_app

PLATFORM = [
    "POST /auth/register",
    "POST /auth/login",
    "POST /auth/refresh",
    "POST /auth/logout",
    "POST /agent/chat",
    "POST /agent/chat/stream",
    "POST /agent/reset",
    "GET /agent/presence",
    "GET /agent/health",
    "GET /agent/memory/profile",
    "PUT /agent/memory/profile",
    "GET /agent/memory/daily",
    "GET /agent/memory/daily/{date}",
    "DELETE /agent/memory/daily/{date}/{entryIndex}",
    "POST /agent/memory/notes",
    "DELETE /agent/memory/notes/{index}",
    "GET /agent/memory/search",
    "POST /agents",
    "GET /agents",
    "GET /agents/{id}",
    "GET /agents/{id}/capabilities",
    "PUT /agents/{id}",
    "DELETE /agents/{id}",
    "GET /agents/{id}/versions",
    "GET /agents/{id}/versions/{version}",
    "POST /agents/{id}/versions/{version}/rollback",
    "PATCH /agents/{id}/versions/{version}",
    "POST /workspaces",
    "GET /workspaces",
    "GET /workspaces/{id}",
    "PUT /workspaces/{id}/settings",
    "POST /workspaces/{id}/members",
    "DELETE /workspaces/{id}/members/{uid}",
    "GET /workspaces/{id}/stats",
    "POST /workspaces/{id}/grants",
    "DELETE /workspaces/{id}/grants",
    "PUT /workspaces/{id}/restrictions",
    "GET /sessions",
    "GET /sessions/{id}",
    "GET /sessions/search/messages",
    "POST /sessions/{id}/handoff",
    "POST /webhooks",
    "GET /webhooks",
    "GET /webhooks/{id}",
    "PUT /webhooks/{id}",
    "DELETE /webhooks/{id}",
    "GET /webhooks/{id}/deliveries",
    "POST /webhooks/{id}/test",
    "GET /costs",
    "GET /costs/breakdown",
    "GET /heartbeat",
    "POST /heartbeat",
    "GET /heartbeat/{id}/runs",
    "PATCH /heartbeat/{id}",
    "DELETE /heartbeat/{id}",
    "GET /skills",
    "GET /skills/{id}",
    "GET /skills/{id}/metrics",
    "GET /skills/cache/stats",
    "POST /skills/cache/clear",
    "GET /traces",
    "GET /traces/{id}",
    "POST /jobs",
    "GET /jobs",
    "GET /jobs/{id}",
    "DELETE /jobs/{id}",
    "POST /memory-profiles",
    "GET /memory-profiles",
    "GET /memory-profiles/{id}",
    "PUT /memory-profiles/{id}",
    "DELETE /memory-profiles/{id}",
    "PUT /memory-profiles/agents/{agentId}/memory-profile",
    "GET /memory-profiles/agents/{agentId}/memory-profile",
    "POST /onboarding/setup",
    "POST /autonomous/run",
    "POST /autonomous/batch",
    "GET /admin/health",
    "GET /admin/agents",
    "GET /admin/usage/{uid}",
    "GET /admin/sessions/{uid}",
    "GET /admin/audit/{uid}",
    "GET /diagnostics",
    "GET /diagnostics/quick",
    "GET /diagnostics/history",
    "GET /diagnostics/circuit-breakers",
    "GET /health",
    "GET /readiness",
    "GET /metrics",
    "GET /openapi.json",
]


def shape(path: str) -> str:
    """A path whatever its parameters are called."""
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


@pytest.fixture(scope="module")
def served() -> set[str]:
    """What the OpenAPI document lists, without the names of parameters."""
    paths = create_app().description["paths"]
    return {f"{method.upper()} {shape(path)}" for path, methods in paths.items() for method in methods}


def test_there_are_89_of_them() -> None:
    assert len(set(PLATFORM)) == 89


@pytest.mark.parametrize("operation", PLATFORM)
def test_an_operation_of_the_platform_is_described(operation: str, served: set[str]) -> None:
    method, _, path = operation.partition(" ")
    assert f"{method} {shape(path)}" in served
