"""Agents of one workspace in another, over real sockets, real actors and a real database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import httpx
import pytest
import trio

from tests.support.platform import Caller, Platform, problem
from understudy.actors.agents.messages import AGENTS, ResolveAgent
from understudy.actors.errors import Forbidden, ModelRestricted
from understudy.storage.grants import MOST_GRANTS

NEW: dict[str, Any] = {
    "id": "ops-helper",
    "model": {
        "provider": "ollama",
        "modelId": "qwen2.5:7b",
        "fallbacks": [{"provider": "openai", "modelId": "gpt"}, {"provider": "claude", "modelId": "haiku"}],
    },
    "systemPromptTemplate": "Help {{workspace.displayName}}.",
    "tools": {"allow": ["clock"]},
}
BODY = {key: value for key, value in NEW.items() if key != "id"}
SOON = (datetime.now(UTC) + timedelta(days=1)).isoformat()


@attrs.frozen
class Two:
    """Mira, who has an agent, and Noor, in a workspace of her own."""

    mira: Caller
    noor: Caller

    async def grant(self, **more: Any) -> httpx.Response:
        asked = {"receivingWorkspaceId": self.noor.workspace_id, "agentId": "ops-helper", **more}
        return await self.mira.call("POST", f"/workspaces/{self.mira.workspace_id}/grants", asked)

    async def revoke(self, body: Any = None, query: str = "", who: Caller | None = None) -> int:
        who = who or self.mira
        return (await who.call("DELETE", f"/workspaces/{who.workspace_id}/grants{query}", body)).status_code

    async def seen(self) -> list[tuple[str, str]]:
        listed = (await self.noor.get("/agents")).json()
        return [(each["id"], each["source"]) for each in listed["agents"]]


@pytest.fixture
async def two(platform: Platform) -> Two:
    two = Two(await platform.user(), await platform.user())
    assert (await two.mira.call("POST", "/agents", NEW)).status_code == 201
    return two


async def test_a_granted_agent_is_seen_whole_and_cannot_be_changed(two: Two) -> None:
    assert (await two.noor.get("/agents/ops-helper")).status_code == 403
    made = await two.grant(expiresAt=SOON)
    assert made.status_code == 201, made.text
    assert await two.seen() == [("chad", "global"), ("ops-helper", "granted")]
    own = (await two.mira.get("/agents/ops-helper")).json()
    theirs = (await two.noor.get("/agents/ops-helper")).json()
    grant = theirs.pop("grant")
    assert theirs == {**own, "source": "granted"}
    assert (grant["readonly"], datetime.fromisoformat(grant["expiresAt"])) == (True, datetime.fromisoformat(SOON))
    assert (await two.noor.get("/agents/ops-helper/capabilities")).json()["tools"][0]["name"] == "clock"
    for readonly in (True, False):
        assert (await two.grant(readonly=readonly)).status_code == 200
        for method, path, body in (
            ("PUT", "", BODY),
            ("DELETE", "", None),
            ("GET", "/versions", None),
            ("GET", "/versions/1", None),
            ("POST", "/versions/1/rollback", None),
            ("PATCH", "/versions/1", {"label": "mine"}),
        ):
            answer = await two.noor.call(method, f"/agents/ops-helper{path}", body)
            assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), (method, path)
    assert (await two.mira.get("/agents/ops-helper")).json() == own


async def test_granting_again_changes_the_grant_and_its_admins_on_both_sides_see_it(two: Two) -> None:
    first = (await two.grant(expiresAt=SOON)).json()
    second = await two.grant(readonly=False)
    assert second.status_code == 200
    changed = second.json()
    assert changed.pop("updatedAt") > first.pop("updatedAt")
    assert changed == {**first, "readonly": False, "expiresAt": None}
    for caller in (two.mira, two.noor):
        (shown,) = (await caller.get(f"/workspaces/{caller.workspace_id}")).json()["grants"]
        assert shown["id"] == first["id"]


async def test_a_grant_that_cannot_be_is_refused(platform: Platform, two: Two) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    for wrong, code in (
        ({"agentId": "nobody"}, 404),
        ({"agentId": "chad"}, 404),
        ({"receivingWorkspaceId": "ws_nowhere"}, 404),
        ({"receivingWorkspaceId": two.mira.workspace_id}, 400),
        ({"expiresAt": past}, 400),
        ({"expiresAt": "2030-01-01T00:00:00"}, 400),
        ({"expiresAt": "tomorrow"}, 400),
        ({"readonly": "yes"}, 400),
    ):
        assert (await two.grant(**wrong)).status_code == code, wrong
    noors = {"receivingWorkspaceId": two.mira.workspace_id, "agentId": "ops-helper"}
    answer = await two.noor.call("POST", f"/workspaces/{two.noor.workspace_id}/grants", noors)
    assert answer.status_code == 404, "an agent of somebody else's cannot be granted"
    await two.grant()
    passed_on = {"receivingWorkspaceId": (await platform.user()).workspace_id, "agentId": "ops-helper"}
    answer = await two.noor.call("POST", f"/workspaces/{two.noor.workspace_id}/grants", passed_on)
    assert answer.status_code == 404, "what was granted cannot be passed on"


async def test_a_grant_is_taken_back_by_body_query_or_id_and_given_back_by_its_receiver(two: Two) -> None:
    words = {"receivingWorkspaceId": two.noor.workspace_id, "agentId": "ops-helper"}
    query = f"?receivingWorkspaceId={two.noor.workspace_id}&agentId=ops-helper"
    for body, asked in ((words, ""), (None, query)):
        await two.grant()
        assert await two.revoke(body, asked) == 204
        assert await two.seen() == [("chad", "global")]
        assert await two.revoke(body, asked) == 404
    for who in (two.mira, two.noor):
        grant_id = (await two.grant()).json()["id"]
        assert await two.revoke({"grantId": grant_id}, who=who) == 204
        assert (await two.noor.get("/agents/ops-helper")).status_code == 403
    await two.grant()
    for wrong in (None, {"agentId": "ops-helper"}, {"grantId": "x", "agentId": "ops-helper"}):
        assert await two.revoke(wrong) == 400
    assert await two.revoke(words, who=two.noor) == 404, "by the pair it is named by whoever gave it"


async def test_a_turn_after_the_revocation_a_change_or_the_deletion_minds_it(platform: Platform, two: Two) -> None:
    async def resolve() -> Any:
        return await platform.system.ask(AGENTS, ResolveAgent(two.noor.workspace_id, "ops-helper"))

    await two.grant()
    assert (await resolve()).workspace_name == "Personal"
    await two.mira.call("PUT", "/agents/ops-helper", {**BODY, "displayName": "Olga"})
    assert (await resolve()).display_name == "Olga"
    await two.revoke({"receivingWorkspaceId": two.noor.workspace_id, "agentId": "ops-helper"})
    with pytest.raises(Forbidden):
        await resolve()
    await two.grant()
    await resolve()
    await two.mira.call("DELETE", "/agents/ops-helper")
    with pytest.raises(Exception, match="no such agent"):
        await resolve()
    await two.mira.call("POST", "/agents", NEW)
    with pytest.raises(Forbidden):  # it was another agent that was granted
        await resolve()
    assert (await two.grant()).status_code == 200
    assert (await resolve()).display_name == "ops-helper"


async def test_what_is_one_s_own_is_never_hidden_by_what_is_granted(platform: Platform, two: Two) -> None:
    await two.mira.call("POST", "/agents", {**NEW, "id": "shared"})
    await two.noor.call("POST", "/agents", {**NEW, "id": "shared", "displayName": "Noor's"})
    await two.grant(agentId="shared")
    read = (await two.noor.get("/agents/shared")).json()
    assert (read["displayName"], read["source"]) == ("Noor's", "workspace")
    await two.grant()
    eve = await platform.user()
    await eve.call("POST", "/agents", {**NEW, "displayName": "Eve's"})
    asked = {"receivingWorkspaceId": two.noor.workspace_id, "agentId": "ops-helper"}
    assert (await eve.call("POST", f"/workspaces/{eve.workspace_id}/grants", asked)).status_code == 201
    assert (await two.noor.get("/agents/ops-helper")).json()["workspaceId"] == two.mira.workspace_id
    assert [each for each, _ in await two.seen()] == ["chad", "ops-helper", "shared"]


async def test_a_restriction_to_a_provider_that_there_is_not_is_refused_and_changes_nothing(two: Two) -> None:
    path = f"/workspaces/{two.mira.workspace_id}/restrictions"
    assert (await two.mira.call("PUT", path, {"allowedProviders": ["claude"]})).status_code == 200
    answer = await two.mira.call("PUT", path, {"allowedProviders": ["anthropic", "opnai", "builtin", "Claude"]})
    assert problem(answer) == (400, "VALIDATION")
    assert answer.json()["details"] == [
        {"path": "allowedProviders[1]", "issue": "unknown_provider"},
        {"path": "allowedProviders[3]", "issue": "unknown_provider"},
    ]
    detail = (await two.mira.get(f"/workspaces/{two.mira.workspace_id}")).json()
    assert detail["allowedProviders"] == ["claude"]


async def test_restrictions_hold_for_the_next_turn_and_name_what_they_refuse(platform: Platform, two: Two) -> None:
    async def resolve(agent_id: str = "ops-helper") -> Any:
        return await platform.system.ask(AGENTS, ResolveAgent(two.mira.workspace_id, agent_id))

    async def restrict(**lists: Any) -> None:
        answer = await two.mira.call("PUT", f"/workspaces/{two.mira.workspace_id}/restrictions", lists)
        assert answer.json() == {"allowedProviders": None, "allowedModels": None, **lists}

    assert len((await resolve()).fallbacks) == 2
    await restrict(allowedProviders=["ollama", "anthropic"])
    assert [each.provider for each in (await resolve()).fallbacks] == ["claude"], "one that is not allowed is not asked"
    with pytest.raises(ModelRestricted, match="builtin"):
        await resolve("chad")
    await restrict(allowedModels=["rehearsal"])
    with pytest.raises(ModelRestricted, match=r"ollama/qwen2\.5:7b"):
        await resolve()
    await resolve("chad")
    await restrict(allowedProviders=["ollama"], allowedModels=["ollama/qwen2.5:7b"])
    assert (await resolve()).fallbacks == ()
    await restrict(allowedProviders=[])
    for agent_id in ("chad", "ops-helper"):
        with pytest.raises(ModelRestricted):
            await resolve(agent_id)
    await restrict()
    await resolve("chad")
    answer = await two.mira.call(
        "PUT", f"/workspaces/{two.mira.workspace_id}/restrictions", {"allowedModels": ["x"] * 101}
    )
    assert (answer.status_code, answer.json()["details"][0]["path"]) == (400, "allowedModels")


async def test_a_workspace_s_time_zone_is_its_agents(platform: Platform, two: Two) -> None:
    for zone in ("Asia/Tokyo", "Europe/Vienna"):
        await two.mira.call("PUT", f"/workspaces/{two.mira.workspace_id}/settings", {"timezone": zone})
        config = await platform.system.ask(AGENTS, ResolveAgent(two.mira.workspace_id, "chad"))
        assert config.timezone == zone


async def test_two_that_grant_each_other_at_once_do_not_wait_for_each_other_and_lists_stay_short(
    platform: Platform, two: Two
) -> None:
    await two.noor.call("POST", "/agents", NEW)
    answers = []

    async def grant(giver: Caller, receiver: Caller) -> None:
        asked = {"receivingWorkspaceId": receiver.workspace_id, "agentId": "ops-helper"}
        answer = await giver.call("POST", f"/workspaces/{giver.workspace_id}/grants", asked)
        answers.append(answer.status_code)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(grant, two.mira, two.noor)
            nursery.start_soon(grant, two.noor, two.mira)
    assert answers == [201, 201]
    async with platform.pool.connection() as connection:
        await connection.execute(
            "INSERT INTO workspaces (id, name, owner_id, plan, created_at)"
            " SELECT 'ws_' || n, 'x', %s, 'team', now() FROM generate_series(1, %s) n",
            (two.mira.uid, MOST_GRANTS),
        )
        await connection.execute(
            "INSERT INTO workspace_agent_grants SELECT 'gr_' || n, granting_workspace_id, 'ws_' || n, agent_id,"
            " agent_key, true, NULL, created_by, now(), now() FROM workspace_agent_grants, generate_series(1, %s) n"
            " WHERE granting_workspace_id = %s",
            (MOST_GRANTS - 1, two.mira.workspace_id),
        )
    await grant(two.mira, await platform.user())
    await grant(two.mira, two.noor)
    assert answers[2:] == [409, 200]
