"""What is refused of `/agents`, to whom, and what happens when something is away."""

from typing import Any

import psycopg
import pytest
import trio

from tests.http.agents.stage import BODY, CHANGES, COLLECTION, MODEL, NEW, READS
from tests.support.platform import Caller, Platform, problem, serving_platform
from understudy.storage.pool import Pool
from understudy.storage.records import WorkspaceRole


@pytest.mark.parametrize(("method", "path", "body"), COLLECTION + READS + CHANGES)
async def test_every_route_refuses_strangers_other_tenants_and_what_it_does_not_know(
    platform: Platform, mira: Caller, method: str, path: str, body: Any
) -> None:
    there, nowhere = path.format(id="ops-helper"), path.format(id="nobody")
    anonymous = await platform.client.request(method, there, json=body)
    assert problem(anonymous) == (401, "UNAUTHENTICATED")
    noor = await platform.user()
    intruding = await noor.call(method, there, body, X_Workspace_Id=mira.workspace_id)
    assert problem(intruding) == (403, "FORBIDDEN")
    if "{id}" in path:
        assert problem(await noor.call(method, there, body)) == (403, "FORBIDDEN")
        assert problem(await mira.call(method, nowhere, body)) == (404, "NOT_FOUND")
        for odd in ("A", "-x", "a" * 65, "a%00b", "%F0%9F%99%82", "a%0A", "..%2Fchad"):
            assert problem(await mira.call(method, path.format(id=odd), body)) == (404, "NOT_FOUND")
        if "versions/1" in path:
            for version in ("2", "0", "99999999999999999999", "-1", "x"):
                missing = there.replace("versions/1", f"versions/{version}")
                assert problem(await mira.call(method, missing, body)) == (404, "NOT_FOUND")
    assert (await mira.get("/agents/ops-helper")).json()["version"] == 1


async def test_who_may_only_look_can_look_and_who_may_change_can_change(platform: Platform, mira: Caller) -> None:
    for role in (WorkspaceRole.VIEWER, WorkspaceRole.MEMBER):
        caller = await platform.member(mira, role)
        for method, path, body in [*READS, COLLECTION[0]]:
            assert (await caller.call(method, path.format(id="ops-helper"), body)).status_code == 200
        for method, path, body in [*CHANGES, COLLECTION[1]]:
            assert problem(await caller.call(method, path.format(id="ops-helper"), body)) == (403, "FORBIDDEN")
    admin = await platform.member(mira, WorkspaceRole.ADMIN)
    for method, path, body in [COLLECTION[1], *CHANGES]:
        assert (await admin.call(method, path.format(id="ops-helper"), body)).status_code in {200, 201, 204}


BAD: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"model": {"provider": "openai"}}, ("model.modelId", "missing")),
    ({"model": {"modelId": "x"}}, ("model.provider", "missing")),
    ({"model": None}, ("model", "wrong_type")),
    ({"model": MODEL | {"provider": "acme"}}, ("model.provider", "unknown_provider")),
    ({"model": {"provider": "builtin", "modelId": "oracle"}}, ("model.modelId", "unknown_model")),
    ({"model": MODEL | {"temperature": 2.1}}, ("model.temperature", "too_large")),
    ({"model": MODEL | {"temperature": -0.1}}, ("model.temperature", "too_small")),
    ({"model": MODEL | {"maxOutputTokens": 0}}, ("model.maxOutputTokens", "too_small")),
    ({"model": MODEL | {"maxContextTokens": 0}}, ("model.maxContextTokens", "too_small")),
    ({"model": MODEL | {"endpoint": "file:///etc/passwd"}}, ("model.endpoint", "invalid_url")),
    (
        {"model": MODEL | {"fallbacks": [MODEL, {"provider": "acme", "modelId": "x"}]}},
        ("model.fallbacks[1].provider", "unknown_provider"),
    ),
    ({"model": MODEL | {"fallbacks": [MODEL] * 6}}, ("model.fallbacks", "too_long")),
    ({"tier": "gold"}, ("tier", "invalid_value")),
    ({"displayName": "x" * 101}, ("displayName", "too_long")),
    ({"displayName": ""}, ("displayName", "too_short")),
    ({"description": "x" * 2001}, ("description", "too_long")),
    ({"description": "a\x00b"}, ("description", "nul_character")),
    ({"systemPromptTemplate": "x" * 100_001}, ("systemPromptTemplate", "too_long")),
    ({"systemPromptTemplate": ""}, ("systemPromptTemplate", "too_short")),
    ({"systemPromptTemplate": "{{#if x}}"}, ("systemPromptTemplate", "bad_template")),
    ({"skills": ["juggling"]}, ("skills[0]", "unknown_skill")),
    ({"skills": "web"}, ("skills", "wrong_type")),
    ({"tools": {"allow": ["clock", "sword"]}}, ("tools.allow[1]", "unknown_tool")),
    ({"tools": {"deny": ["sword"]}}, ("tools.deny[0]", "unknown_tool")),
    ({"tools": {"allow": ["clock"] * 201}}, ("tools.allow", "too_long")),
    ({"spawn": {"maxDepth": 4}}, ("spawn.maxDepth", "too_large")),
    ({"spawn": {"maxDepth": 0}}, ("spawn.maxDepth", "too_small")),
    ({"spawn": {"allowedTargets": ["Not An Id"]}}, ("spawn.allowedTargets[0]", "invalid_value")),
    ({"fileAccess": {"allowedPaths": ["../up"]}}, ("fileAccess.allowedPaths[0]", "leaves_the_folder")),
    ({"session": {"idleTimeoutMinutes": 0}}, ("session.idleTimeoutMinutes", "too_small")),
    ({"session": {"dailyResetHour": 24}}, ("session.dailyResetHour", "too_large")),
    ({"session": {"dailyResetHour": -1}}, ("session.dailyResetHour", "too_small")),
    ({"budget": {"maxTokensPerTurn": 0}}, ("budget.maxTokensPerTurn", "too_small")),
    ({"budget": {"maxToolCallsPerTurn": -1}}, ("budget.maxToolCallsPerTurn", "too_small")),
    ({"budget": {"maxCostUsdPerTurn": 0}}, ("budget.maxCostUsdPerTurn", "too_small")),
    ({"memoryProfileId": "anything"}, ("memoryProfileId", "invalid_value")),
]


async def test_each_limit_is_told_with_the_name_of_its_field_and_changes_nothing(mira: Caller) -> None:
    for fields, expected in BAD:
        for method, path in (("POST", "/agents"), ("PUT", "/agents/ops-helper")):
            body = NEW | fields | {"id": "bad" if method == "POST" else "ops-helper"}
            refused = await mira.call(method, path, body)
            assert problem(refused) == (400, "VALIDATION"), (fields, refused.text)
            (detail,) = refused.json()["details"]
            assert (detail["path"], detail["issue"]) == expected, (fields, refused.text)
    for agent_id, issue in (
        ("Bad", "invalid_value"),
        ("search", "reserved"),
        (None, "wrong_type"),
        ("", "invalid_value"),
    ):
        refused = await mira.call("POST", "/agents", NEW | {"id": agent_id})
        assert [(d["path"], d["issue"]) for d in refused.json()["details"]] == [("id", issue)]
    other = await mira.call("PUT", "/agents/ops-helper", BODY | {"id": "other"})
    assert other.json()["details"][0]["issue"] == "differs_from_path"
    assert (await mira.get("/agents")).json()["total"] == 2
    assert (await mira.get("/agents/ops-helper")).json()["version"] == 1


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/agents", b"{"),
        ("POST", "/agents", b""),
        ("PUT", "/agents/ops-helper", b"[]"),
        ("PATCH", "/agents/ops-helper/versions/1", b"{}"),
        ("PATCH", "/agents/ops-helper/versions/1", b'{"label": ""}'),
        ("PATCH", "/agents/ops-helper/versions/1", b'{"label": 1}'),
        ("PATCH", "/agents/ops-helper/versions/1", b'{"label": "' + b"x" * 101 + b'"}'),
        ("GET", "/agents?limit=0", b""),
        ("GET", "/agents?limit=101", b""),
        ("GET", "/agents?offset=-1", b""),
        ("GET", "/agents/ops-helper/versions?limit=x", b""),
    ],
)
async def test_what_is_malformed_is_400(mira: Caller, method: str, path: str, content: bytes) -> None:
    response = await mira.client.request(method, path, content=content, headers=mira.headers)
    assert problem(response) == (400, "VALIDATION")


async def test_every_change_is_audited_with_who_made_it(platform: Platform, mira: Caller) -> None:
    await mira.call("PUT", "/agents/ops-helper", BODY | {"description": "new"}, X_Request_ID="req-PUT")
    for method, path, body in CHANGES[1:]:
        await mira.call(method, path.format(id="ops-helper"), body, X_Request_ID=f"req-{method}")
    lines = [line for line in await platform.store.audit.of_user(mira.uid) if line.event.startswith("agent.")]
    assert [(line.event, line.metadata["version"]) for line in reversed(lines)] == [
        ("agent.created", 1),
        ("agent.updated", 2),
        ("agent.rolled_back", 3),
        ("agent.version_labelled", 1),
        ("agent.deleted", 3),
    ]
    assert [line.request_id for line in lines][:4] == ["req-DELETE", "req-PATCH", "req-POST", "req-PUT"]
    assert {(line.agent_id, line.workspace_id) for line in lines} == {("ops-helper", mira.workspace_id)}
    assert (await platform.store.audit.verify()).broken_at is None


async def test_too_many_requests_are_told_when_to_come_back(pool: Pool) -> None:
    async with serving_platform(pool, user_rate_limit_max=1) as platform:
        mira = await platform.user()
        assert (await mira.get("/agents")).status_code == 200
        refused = await mira.get("/agents")
        assert problem(refused) == (429, "RATE_LIMIT")
        assert int(refused.headers["retry-after"]) >= 1


async def test_who_belongs_to_several_workspaces_must_say_which(platform: Platform, mira: Caller) -> None:
    noor = await platform.user()
    await platform.member(mira, WorkspaceRole.ADMIN, noor)
    unsaid = {"Authorization": f"Bearer {noor.token}"}
    for method, path, body in [*COLLECTION, *READS, *CHANGES]:
        refused = await platform.client.request(method, path.format(id="ops-helper"), json=body, headers=unsaid)
        assert problem(refused) == (400, "VALIDATION")
        assert refused.json()["details"][0]["path"] == "X-Workspace-Id"


async def test_more_than_a_request_may_hold_is_413(mira: Caller) -> None:
    huge = BODY | {"description": "x" * 2**20}
    for method, path in (
        ("POST", "/agents"),
        ("PUT", "/agents/ops-helper"),
        ("PATCH", "/agents/ops-helper/versions/1"),
    ):
        assert problem(await mira.call(method, path, huge)) == (413, "PAYLOAD_TOO_LARGE")


async def test_an_agents_actor_that_does_not_answer_is_504(pool: Pool) -> None:
    async with serving_platform(pool, request_timeout=2) as platform:
        mira = await platform.user()
        await platform.system.suspend("agents")
        answers = []

        async def ask(method: str, path: str, body: Any) -> None:
            answers.append(problem(await mira.call(method, path.format(id="chad"), body)))

        async with trio.open_nursery() as nursery:
            for asked in (COLLECTION[0], COLLECTION[1], READS[0], CHANGES[3]):
                nursery.start_soon(ask, *asked)
        assert answers == [(504, "TIMEOUT")] * 4
        await platform.system.resume("agents")
        assert (await mira.get("/agents")).status_code == 200


async def test_while_the_database_is_away_agents_are_503_and_come_back(pg_dsn: str) -> None:
    pool = Pool(pg_dsn, min_size=0, max_size=8)
    await pool.open()
    try:
        async with serving_platform(pool) as platform:
            mira = await platform.user()
            assert (await mira.call("POST", "/agents", NEW)).status_code == 201
            with psycopg.connect(pg_dsn, dbname="postgres", autocommit=True) as admin:
                name = psycopg.conninfo.conninfo_to_dict(pg_dsn)["dbname"]
                admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
                pool.timeout = 0.3
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
                for method, path, body in (*READS, *CHANGES):
                    away = await mira.call(method, path.format(id="ops-helper"), body)
                    assert problem(away) == (503, "UNAVAILABLE")
                    assert int(away.headers["retry-after"]) >= 1
                admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
                pool.timeout = 5.0
            with trio.fail_after(15):
                while (await mira.get("/agents/ops-helper")).status_code != 200:
                    await trio.lowlevel.checkpoint()
    finally:
        await pool.close()
