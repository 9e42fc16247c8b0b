"""`/agents` over real sockets, real actors and a real database."""

import httpx
import msgspec
import trio

from tests.http.agents.stage import BODY, CHANGES, COLLECTION, MODEL, NEW, READS
from tests.support.platform import Caller, Platform, problem
from understudy.http.app import create_app
from understudy.http.openapi import document


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
