"""`/memory-profiles` over real sockets, real actors and a real database."""

from typing import Any

import attrs
import httpx

from tests.support.platform import Caller, Platform, problem
from understudy.storage.memory_profiles import MOST_PROFILES
from understudy.storage.records import WorkspaceRole

ROOT = "/memory-profiles"
DEFAULTS = {
    "tiersEnabled": {"session": True, "daily": True, "profile": True, "graph": True, "procedural": True},
    "ttlDays": None,
    "maxContextChunks": 20,
    "minRelevanceScore": 0.5,
    "extract": True,
    "systemPromptSuffix": None,
}
OF_CHAD = "/agents/chad/memory-profile"
CHANGES = [
    ("POST", "", {"name": "lean"}),
    ("PUT", "/mpr_x", {"name": "lean"}),
    ("DELETE", "/mpr_x", None),
    ("PUT", OF_CHAD, {"profileId": None}),
]
READS = ["", "/mpr_x", OF_CHAD]


async def call(caller: Caller, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
    return await caller.call(method, f"{ROOT}{path}", body, **headers)


async def made(caller: Caller, name: str = "lean", **config: Any) -> dict[str, Any]:
    answer = await call(caller, "POST", "", {"name": name, "config": config})
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{ROOT}/{answer.json()['id']}"
    shown: dict[str, Any] = answer.json()
    return shown


async def test_a_profile_is_made_read_changed_and_deleted(platform: Platform, mira: Caller) -> None:
    lean = await made(mira, tiersEnabled={"graph": False}, ttlDays=90)
    assert lean["id"].startswith("mpr_")
    assert (lean["workspaceId"], lean["name"], lean["description"]) == (mira.workspace_id, "lean", None)
    tiers = DEFAULTS["tiersEnabled"] | {"graph": False}  # type: ignore[operator]
    assert lean["config"] == DEFAULTS | {"tiersEnabled": tiers, "ttlDays": 90}
    assert (await call(mira, "GET", f"/{lean['id']}")).json() == lean
    await made(mira, "a first")
    assert [each["name"] for each in (await call(mira, "GET", "")).json()["profiles"]] == ["a first", "lean"]
    renamed = (await call(mira, "PUT", f"/{lean['id']}", {"name": "leaner", "description": "quick"})).json()
    assert (renamed["name"], renamed["config"]) == ("leaner", lean["config"])
    again = (await call(mira, "PUT", f"/{lean['id']}", {"config": {"maxContextChunks": 3}})).json()
    assert (again["description"], again["config"]) == ("quick", DEFAULTS | {"maxContextChunks": 3})
    assert (await call(mira, "PUT", f"/{lean['id']}", {"description": None})).json()["description"] is None
    assert (await call(mira, "DELETE", f"/{lean['id']}")).status_code == 204
    assert problem(await call(mira, "GET", f"/{lean['id']}")) == (404, "NOT_FOUND")
    told = [line.event for line in await platform.store.audit.of_user(mira.uid)]
    assert [event for event in told if event.startswith("memory_profile.")] == [
        "memory_profile.deleted",
        *["memory_profile.changed"] * 3,
        *["memory_profile.created"] * 2,
    ]


WRONG: list[tuple[Any, str]] = [
    ({}, "name"),
    ({"name": ""}, "name"),
    ({"name": "  "}, "name"),
    ({"name": "  "}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"name": 1}, "name"),
    ({"name": "x", "description": "x" * 1001}, "description"),
    ({"name": "x", "config": {"ttlDays": 0}}, "config.ttlDays"),
    ({"name": "x", "config": {"ttlDays": 3651}}, "config.ttlDays"),
    ({"name": "x", "config": {"maxContextChunks": 0}}, "config.maxContextChunks"),
    ({"name": "x", "config": {"maxContextChunks": 101}}, "config.maxContextChunks"),
    ({"name": "x", "config": {"minRelevanceScore": 1.1}}, "config.minRelevanceScore"),
    ({"name": "x", "config": {"minRelevanceScore": -1}}, "config.minRelevanceScore"),
    ({"name": "x", "config": {"tiersEnabled": {"daily": "no"}}}, "config.tiersEnabled.daily"),
    ({"name": "x", "config": {"systemPromptSuffix": "x" * 4001}}, "config.systemPromptSuffix"),
    ({"name": "x", "config": None}, "config"),
]


async def test_what_is_wrong_with_a_profile_is_said_by_field(mira: Caller) -> None:
    for body, path in WRONG:
        refused = await call(mira, "POST", "", body)
        assert problem(refused) == (400, "VALIDATION")
        assert refused.json()["details"][0]["path"] == path
    assert (await call(mira, "GET", "")).json() == {"profiles": []}


async def test_a_name_is_taken_once_in_a_workspace_and_there_is_an_end_of_profiles(
    platform: Platform, mira: Caller
) -> None:
    lean, wide = await made(mira, "lean"), await made(mira, "wide")
    assert problem(await call(mira, "POST", "", {"name": "lean"})) == (409, "CONFLICT")
    assert problem(await call(mira, "PUT", f"/{wide['id']}", {"name": "lean"})) == (409, "CONFLICT")
    assert (await call(mira, "PUT", f"/{lean['id']}", {"name": "lean"})).status_code == 200
    await made(await platform.user(), "lean")
    async with platform.pool.connection() as connection:
        await connection.execute(
            "INSERT INTO memory_profiles (id, workspace_id, name, config, created_at, updated_at) SELECT 'mpr_' || n,"
            " workspace_id, 'p' || n, config, created_at, updated_at FROM memory_profiles, generate_series(3, %s) n"
            " WHERE id = %s",
            (MOST_PROFILES, lean["id"]),
        )
    assert problem(await call(mira, "POST", "", {"name": "one more"})) == (409, "CONFLICT")


async def test_the_same_profile_sent_again_with_its_key_is_made_once(mira: Caller) -> None:
    answers = [await call(mira, "POST", "", {"name": "once"}, x_idempotency_key="k1") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert problem(await call(mira, "POST", "", {"name": "else"}, x_idempotency_key="k1")) == (409, "CONFLICT")


async def test_an_agent_has_the_profile_it_is_given_and_falls_back_when_that_is_deleted(mira: Caller) -> None:
    nothing = {"agentId": "chad", "profile": None, "effective": DEFAULTS}
    assert (await call(mira, "GET", OF_CHAD)).json() == nothing
    lean = await made(mira, maxContextChunks=8)
    given = await call(mira, "PUT", OF_CHAD, {"profileId": lean["id"]})
    assert given.json() == {"agentId": "chad", "profile": lean, "effective": lean["config"]}
    assert (await call(mira, "GET", OF_CHAD)).json() == given.json()
    assert (await call(mira, "PUT", OF_CHAD, {"profileId": None})).json() == nothing
    await call(mira, "PUT", OF_CHAD, {"profileId": lean["id"]})
    assert (await call(mira, "DELETE", f"/{lean['id']}")).status_code == 204
    assert (await call(mira, "GET", OF_CHAD)).json() == nothing


async def test_an_agents_own_choice_counts_while_nothing_is_assigned(mira: Caller) -> None:
    lean, wide = await made(mira), await made(mira, "wide")
    agent = {
        "id": "valet",
        "model": {"provider": "builtin", "modelId": "rehearsal"},
        "systemPromptTemplate": "Serve.",
        "memoryProfileId": lean["id"],
    }
    assert (await mira.call("POST", "/agents", agent)).status_code == 201
    path = "/agents/valet/memory-profile"
    assert (await call(mira, "GET", path)).json()["profile"]["name"] == "lean"
    await call(mira, "PUT", path, {"profileId": wide["id"]})
    assert (await call(mira, "GET", path)).json()["profile"]["name"] == "wide"


async def test_neither_an_unknown_agent_nor_an_unknown_profile_can_be_assigned(
    platform: Platform, mira: Caller
) -> None:
    lean, theirs = await made(mira), await made(await platform.user())
    for agent, profile in (("nobody", lean["id"]), ("chad", "mpr_unknown"), ("chad", theirs["id"])):
        answer = await call(mira, "PUT", f"/agents/{agent}/memory-profile", {"profileId": profile})
        assert problem(answer) == (404, "NOT_FOUND")
    assert problem(await call(mira, "GET", "/agents/nobody/memory-profile")) == (404, "NOT_FOUND")
    assert problem(await call(mira, "PUT", OF_CHAD, {})) == (400, "VALIDATION")
    for path in ("/agents", "/mpr_unknown", f"/{theirs['id']}"):
        assert problem(await call(mira, "GET", path)) == (404, "NOT_FOUND")
        assert problem(await call(mira, "PUT", path, {"name": "mine"})) == (404, "NOT_FOUND")
        assert problem(await call(mira, "DELETE", path)) == (404, "NOT_FOUND")


async def test_members_read_and_admins_write(platform: Platform, mira: Caller) -> None:
    lean = await made(mira)
    for role in (WorkspaceRole.VIEWER, WorkspaceRole.MEMBER):
        someone = await platform.member(mira, role)
        assert (await call(someone, "GET", f"/{lean['id']}")).json() == lean
        assert (await call(someone, "GET", OF_CHAD)).status_code == 200
        for method, path, body in CHANGES:
            assert problem(await call(someone, method, path.replace("mpr_x", lean["id"]), body)) == (403, "FORBIDDEN")
    admin = await platform.member(mira, WorkspaceRole.ADMIN)
    await made(admin, "theirs")


async def test_strangers_and_the_unknown_are_turned_away(platform: Platform, mira: Caller) -> None:
    await made(mira)
    stranger = await platform.user()
    for method, path, body in (*CHANGES, *(("GET", path, None) for path in READS)):
        anonymous = await platform.client.request(method, f"{ROOT}{path}", json=body)
        assert problem(anonymous) == (401, "UNAUTHENTICATED")
        elsewhere = await call(attrs.evolve(stranger, workspace_id=mira.workspace_id), method, path, body)
        assert problem(elsewhere) == (403, "FORBIDDEN")
    assert (await call(stranger, "GET", "")).json() == {"profiles": []}
