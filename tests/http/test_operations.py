"""The platform's 89 operations: each is served, and described as it is served."""

from typing import Any

import msgspec
import pytest

from tests.support.house import routes
from understudy.http.app import create_app
from understudy.http.operation import Operation

JSON = "application/json"

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


ANSWERED = {route.operation.id: route.operation for route in routes() if route.operation.media_type == JSON}


def says(shown: Any, example: Any) -> bool:
    """Whether all that the example says is in what is shown, in each thing within it too."""
    if isinstance(example, dict):
        return isinstance(shown, dict) and all(name in shown and says(shown[name], example[name]) for name in example)
    if isinstance(example, list):
        return isinstance(shown, list) and len(shown) == len(example) and all(map(says, shown, example))
    return bool(shown == example)


def fits(example: Any, shape: Any) -> bool:
    """Whether the shape takes the example, and knows every word of it."""
    return says(msgspec.json.decode(msgspec.json.encode(msgspec.convert(example, shape))), example)


@pytest.mark.parametrize("operation", ANSWERED.values(), ids=ANSWERED.keys())
def test_every_operation_has_examples_and_they_are_of_its_own_shapes(operation: Operation) -> None:
    answered = next(iter(operation.replies.values()))
    assert (answered is None) is (operation.reply_example is None)
    assert answered is None or fits(operation.reply_example, answered)
    assert (operation.body is None) is (operation.example is None)
    assert operation.body is None or fits(operation.example, operation.body)
