"""`/agents` over real sockets, real actors and a real database."""

from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import trio

from tests.support.platform import Caller, Platform, problem, serving_platform
from understudy.http.app import create_app
from understudy.http.openapi import document
from understudy.storage.pool import Pool
from understudy.storage.records import WorkspaceRole

MODEL = {"provider": "ollama", "modelId": "qwen2.5:7b", "maxOutputTokens": 2048, "temperature": 0.2}
BODY: dict[str, Any] = {
    "displayName": "Ops helper",
    "model": MODEL,
    "systemPromptTemplate": "Help with operations. Today: {{date}}.",
    "tools": {"allow": ["clock", "web"], "deny": ["web"]},
}
NEW: dict[str, Any] = {"id": "ops-helper", **BODY}

READS = [
    ("GET", "/agents/{id}", None),
    ("GET", "/agents/{id}/capabilities", None),
    ("GET", "/agents/{id}/versions", None),
    ("GET", "/agents/{id}/versions/1", None),
]
CHANGES = [
    ("PUT", "/agents/{id}", BODY),
    ("POST", "/agents/{id}/versions/1/rollback", None),
    ("PATCH", "/agents/{id}/versions/1", {"label": "x"}),
    ("DELETE", "/agents/{id}", None),
]
COLLECTION = [("GET", "/agents", None), ("POST", "/agents", {"id": "another", **BODY})]


@pytest.fixture
async def mira(platform: Platform) -> Caller:
    """Somebody with an agent."""
    mira = await platform.user()
    created = await mira.call("POST", "/agents", NEW)
    assert created.status_code == 201, created.text
    return mira


async def test_a_new_agent_is_answered_whole_and_found_again(platform: Platform) -> None:
    mira = await platform.user()
    created = await mira.call("POST", "/agents", NEW)
    assert created.status_code == 201
    assert created.headers["location"] == "/agents/ops-helper"
    shown = created.json()
    assert shown.pop("createdAt") == shown.pop("updatedAt")
    assert MODEL.items() <= shown["model"].items()
    assert shown == {
        **NEW,
        "model": shown["model"],
        "description": "",
        "tier": None,
        "skills": [],
        "spawn": {"enabled": False, "allowedTargets": [], "maxDepth": 2},
        "fileAccess": {"restricted": True, "allowedPaths": []},
        "session": {"idleTimeoutMinutes": None, "dailyResetHour": None},
        "quotas": None,
        "budget": {"maxTokensPerTurn": None, "maxToolCallsPerTurn": None, "maxCostUsdPerTurn": None},
        "memoryProfileId": None,
        "workspaceId": mira.workspace_id,
        "version": 1,
        "source": "workspace",
    }
    read = await mira.get("/agents/ops-helper")
    assert read.json() == created.json()
    assert read.headers["etag"] == created.headers["etag"]


async def test_the_list_has_own_and_global_agents_in_pages(platform: Platform, mira: Caller) -> None:
    await mira.call("POST", "/agents", NEW | {"id": "zoe"})
    whole = (await mira.get("/agents")).json()
    assert [(agent["id"], agent["source"]) for agent in whole["agents"]] == [
        ("chad", "global"),
        ("ops-helper", "workspace"),
        ("zoe", "workspace"),
    ]
    assert (whole["total"], whole["limit"], whole["offset"]) == (3, None, 0)
    page = await mira.get("/agents?limit=2&offset=0")
    assert [agent["id"] for agent in page.json()["agents"]] == ["chad", "ops-helper"]
    assert page.headers["link"] == '</agents?limit=2&offset=2>; rel="next"'
    last = await mira.get("/agents?limit=2&offset=2")
    assert ([agent["id"] for agent in last.json()["agents"]], "link" in last.headers) == (["zoe"], False)
    noor = await platform.user()
    assert [agent["id"] for agent in (await noor.get("/agents")).json()["agents"]] == ["chad"]


async def test_capabilities_are_what_is_allowed_without_what_is_denied(mira: Caller) -> None:
    assert (await mira.get("/agents/ops-helper/capabilities")).json() == {
        "agentId": "ops-helper",
        "skills": [],
        "tools": [{"name": "clock", "description": "What clock does", "source": "allow"}],
        "denied": ["web"],
    }


async def test_chad_is_there_out_of_the_box_and_cannot_be_changed(platform: Platform) -> None:
    mira = await platform.user()
    shown = (await mira.get("/agents/chad")).json()
    assert (shown["source"], shown["workspaceId"], shown["createdAt"], shown["version"]) == ("global", None, None, 1)
    assert [entry["current"] for entry in (await mira.get("/agents/chad/versions")).json()] == [True]
    for method, path, body in CHANGES:
        assert problem(await mira.call(method, path.format(id="chad"), body)) == (403, "FORBIDDEN")
    assert problem(await mira.call("POST", "/agents", NEW | {"id": "chad"})) == (409, "CONFLICT")


async def test_a_replacement_is_a_new_version_and_the_same_again_is_none(mira: Caller) -> None:
    changed = await mira.call("PUT", "/agents/ops-helper", BODY | {"description": "new", "unknown": 1})
    assert (changed.status_code, changed.json()["version"], changed.json()["description"]) == (200, 2, "new")
    assert "unknown" not in changed.json()
    again = await mira.call("PUT", "/agents/ops-helper", changed.json())  # as it was read, with all that it has
    assert again.json() == changed.json()
    back = await mira.call("PUT", "/agents/ops-helper", {key: BODY[key] for key in ("model", "systemPromptTemplate")})
    assert (back.json()["version"], back.json()["displayName"], back.json()["tools"]) == (
        3,
        "ops-helper",
        {"allow": [], "deny": []},
    )
    listed = await mira.get("/agents/ops-helper/versions")
    assert [(entry["version"], entry["current"], entry["label"]) for entry in listed.json()] == [
        (3, True, None),
        (2, False, None),
        (1, False, None),
    ]
    assert {entry["createdBy"] for entry in listed.json()} == {mira.uid}
    page = await mira.get("/agents/ops-helper/versions?limit=2")
    assert [entry["version"] for entry in page.json()] == [3, 2]
    assert page.headers["link"] == '</agents/ops-helper/versions?limit=2&offset=2>; rel="next"'


async def test_an_old_version_is_read_restored_and_labelled(mira: Caller) -> None:
    await mira.call("PUT", "/agents/ops-helper", BODY | {"description": "new"})
    old = (await mira.get("/agents/ops-helper/versions/1")).json()
    assert (old["agentId"], old["current"], old["config"]["description"]) == ("ops-helper", False, "")
    restored = await mira.call("POST", "/agents/ops-helper/versions/1/rollback")
    assert (restored.status_code, restored.json()["version"], restored.json()["description"]) == (200, 3, "")
    labelled = await mira.call("PATCH", "/agents/ops-helper/versions/2", {"label": "the loud one"})
    assert (labelled.status_code, labelled.json()["label"], labelled.json()["current"]) == (200, "the loud one", False)
    labels = [entry["label"] for entry in (await mira.get("/agents/ops-helper/versions")).json()]
    assert labels == ["rollback to version 1", "the loud one", None]
    cleared = await mira.call("PATCH", "/agents/ops-helper/versions/2", {"label": None})
    assert cleared.json()["label"] is None


async def test_a_deleted_agent_is_gone_and_its_id_is_free(mira: Caller) -> None:
    await mira.call("PUT", "/agents/ops-helper", BODY | {"description": "new"})
    deleted = await mira.call("DELETE", "/agents/ops-helper")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for method, path, body in READS + CHANGES:
        assert problem(await mira.call(method, path.format(id="ops-helper"), body)) == (404, "NOT_FOUND")
    assert (await mira.call("POST", "/agents", NEW)).json()["version"] == 1
    assert len((await mira.get("/agents/ops-helper/versions")).json()) == 1


async def test_what_a_client_has_is_not_sent_again_until_it_changes(mira: Caller) -> None:
    for path in ("/agents", "/agents/ops-helper"):
        first = await mira.get(path)
        tag = first.headers["etag"]
        assert tag.startswith('W/"')
        assert first.headers["cache-control"] == "private, max-age=30"
        assert first.headers["vary"] == "Authorization, X-Workspace-Id"
        for held in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
            again = await mira.get(path, If_None_Match=held)
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            assert "content-length" not in again.headers
        await mira.call("PUT", "/agents/ops-helper", BODY | {"description": path})
        changed = await mira.get(path, If_None_Match=tag)
        assert changed.status_code == 200
        assert changed.headers["etag"] != tag


async def test_a_change_from_what_is_no_longer_so_is_refused(mira: Caller) -> None:
    seen = (await mira.get("/agents/ops-helper")).headers["etag"]
    first = await mira.call("PUT", "/agents/ops-helper", BODY | {"description": "a"}, If_Match=seen)
    assert first.status_code == 200
    for method, path, body in (CHANGES[0], CHANGES[1], CHANGES[3]):
        refused = await mira.call(method, path.format(id="ops-helper"), body, If_Match=seen)
        assert problem(refused) == (412, "PRECONDITION_FAILED")
    assert (await mira.get("/agents/ops-helper")).json() == first.json()
    assert (await mira.call("DELETE", "/agents/ops-helper", If_Match="*")).status_code == 204
    assert problem(await mira.call("DELETE", "/agents/ops-helper", If_Match="*")) == (404, "NOT_FOUND")


async def test_of_many_changes_from_the_same_state_one_wins(mira: Caller) -> None:
    seen = (await mira.get("/agents/ops-helper")).headers["etag"]
    statuses = []

    async def change(number: int) -> None:
        changed = await mira.call("PUT", "/agents/ops-helper", BODY | {"description": str(number)}, If_Match=seen)
        statuses.append(changed.status_code)

    async def delete() -> None:
        statuses.append((await mira.call("DELETE", "/agents/ops-helper", If_Match=seen)).status_code)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(change, number)
        nursery.start_soon(delete)
    won = [status for status in statuses if status in {200, 204}]
    assert len(won) == 1
    assert set(statuses) - set(won) <= {412, 404}


async def test_the_same_creation_sent_twice_makes_one_agent(platform: Platform) -> None:
    mira = await platform.user()
    first = await mira.call("POST", "/agents", NEW, X_Idempotency_Key="k1")
    second = await mira.call("POST", "/agents", NEW, X_Idempotency_Key="k1")
    assert (second.status_code, second.json()) == (201, first.json())
    assert second.headers["idempotency-replayed"] == "true"
    other = await mira.call("POST", "/agents", NEW | {"id": "other"}, X_Idempotency_Key="k1")
    assert problem(other) == (409, "CONFLICT")
    assert problem(await mira.call("POST", "/agents", NEW)) == (409, "CONFLICT")
    await mira.call("PUT", "/agents/ops-helper", BODY | {"description": "new"})
    for _ in range(2):
        back = await mira.call("POST", "/agents/ops-helper/versions/1/rollback", Idempotency_Key="k2")
        assert (back.status_code, back.json()["version"]) == (200, 3)


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


async def test_what_is_answered_fits_what_is_described(mira: Caller) -> None:
    made = document(create_app())

    def fits(response: httpx.Response, path: str, method: str) -> None:
        described = made["paths"][path][method]["responses"][str(response.status_code)]
        if not response.content:
            assert "content" not in described
            return
        schema = described["content"]["application/json"]["schema"]
        answer = msgspec.json.decode(response.content)
        if schema.get("type") == "array":
            schema, answer = schema["items"], answer[0]
        properties = made["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert set(properties.get("required", ())) <= set(answer) <= set(properties["properties"])

    seen = (await mira.get("/agents")).headers["etag"]
    fits(await mira.get("/agents", If_None_Match=seen), "/agents", "get")
    for method, path, body in [*COLLECTION, *READS, *CHANGES]:
        response = await mira.call(method, path.format(id="ops-helper"), body)
        assert response.is_success
        fits(response, path.replace("/1", "/{version}"), method.lower())
        refused = await mira.call(method, path.format(id="chad"), body)
        if refused.is_error:
            fits(refused, path.replace("/1", "/{version}"), method.lower())
