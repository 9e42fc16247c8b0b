"""`/approvals` and resuming an agent, over real sockets, real actors and a real database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.identity import Settings
from tests.support.platform import Caller, Platform, serving_platform
from understudy.actors.approvals.actor import approvals_spec
from understudy.actors.approvals.messages import APPROVALS, Approval, RequestApproval
from understudy.actors.healing.actor import HealingRules, healing_spec
from understudy.actors.healing.messages import HEALING, TurnEnded
from understudy.runtime import Actor, ChildSpec, DynamicSpec
from understudy.storage.pool import Pool
from understudy.storage.records import WorkspaceRole, new_id


class Asleep(Actor):
    """A session that lives, and does nothing."""


@pytest.fixture
async def platform(pool: Pool) -> AsyncIterator[Platform]:
    async with serving_platform(pool) as platform:
        await platform.system.spawn(DynamicSpec("sessions", kind="session", child=lambda key: ChildSpec(key, Asleep)))
        await platform.system.spawn(approvals_spec(platform.store.approvals))
        await platform.system.spawn(healing_spec(platform.store.health, HealingRules()))
        yield platform


async def asked(platform: Platform, whose: Caller, *, seconds: float = 300.0) -> Approval:
    now = datetime.now(UTC)
    session_id = new_id("ses")
    await platform.system.ensure(f"session/{session_id}")
    wanted = Approval(
        new_id("apr"), whose.workspace_id, whose.uid, "chad", session_id, "trn_1", "call_1", "shell_exec",
        '{"command":"ls"}', now, now + timedelta(seconds=seconds),
    )  # fmt: skip
    return await platform.system.ask(APPROVALS, RequestApproval(wanted))


async def test_a_request_is_seen_and_decided_by_whose_it_is(platform: Platform) -> None:
    mira = await platform.user()
    request = await asked(platform, mira)
    page = (await mira.get("/approvals")).json()
    assert (page["total"], page["approvals"][0]["id"], page["approvals"][0]["status"]) == (1, request.id, "pending")
    assert page["approvals"][0]["arguments"] == '{"command":"ls"}'
    done = await mira.call("POST", f"/approvals/{request.id}/approve", {"note": "fine"})
    assert (done.status_code, done.json()["status"], done.json()["note"]) == (200, "approved", "fine")
    assert done.json()["decidedBy"] == mira.uid
    assert (await mira.get("/approvals")).json()["total"] == 0
    assert (await mira.get("/approvals?status=all")).json()["total"] == 1
    late = await mira.call("POST", f"/approvals/{request.id}/deny")
    assert (late.status_code, late.json()["code"]) == (409, "CONFLICT")


async def test_the_same_decision_under_one_key_is_made_once(platform: Platform) -> None:
    mira = await platform.user()
    request = await asked(platform, mira)
    path = f"/approvals/{request.id}/deny"
    first = await mira.call("POST", path, X_Idempotency_Key="k1")
    again = await mira.call("POST", path, X_Idempotency_Key="k1")
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert again.headers["idempotency-replayed"] == "true"


async def test_admins_decide_for_their_workspace_members_and_viewers_for_nobody_else(platform: Platform) -> None:
    owner = await platform.user()
    member = await platform.member(owner, WorkspaceRole.MEMBER)
    admin = await platform.member(owner, WorkspaceRole.ADMIN)
    viewer = await platform.member(owner, WorkspaceRole.VIEWER)
    theirs, owners = await asked(platform, member), await asked(platform, owner)
    assert (await admin.get("/approvals")).json()["total"] == 2
    assert [a["id"] for a in (await member.get("/approvals")).json()["approvals"]] == [theirs.id]
    assert (await viewer.get("/approvals")).json()["total"] == 0
    hidden = await member.call("POST", f"/approvals/{owners.id}/approve")
    assert (hidden.status_code, hidden.json()["code"]) == (404, "NOT_FOUND")
    assert (await viewer.call("POST", f"/approvals/{theirs.id}/approve")).status_code == 403
    assert (await admin.call("POST", f"/approvals/{theirs.id}/approve")).status_code == 200


async def test_another_tenant_learns_nothing(platform: Platform) -> None:
    mira, noor = await platform.user(), await platform.user()
    request = await asked(platform, mira)
    for verb in ("approve", "deny"):
        answer = await noor.call("POST", f"/approvals/{request.id}/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
        unknown = await noor.call("POST", f"/approvals/apr_none/{verb}")
        assert unknown.json()["error"] == answer.json()["error"]
    answer = await noor.call("POST", f"/approvals/{request.id}/approve", X_Workspace_Id=mira.workspace_id)
    assert answer.status_code == 403
    assert (await platform.client.get("/approvals")).status_code == 401


async def test_what_is_wrong_with_a_decision_is_named(platform: Platform) -> None:
    mira = await platform.user()
    request = await asked(platform, mira)
    wrong: tuple[tuple[object, str], ...] = (({"note": "x" * 1001}, "note"), ({"note": 7}, "note"), ([], "body"))
    for body, path in wrong:
        answer = await mira.call("POST", f"/approvals/{request.id}/approve", body)
        assert (answer.status_code, answer.json()["details"][0]["path"]) == (400, path)
    assert (await mira.get("/approvals?status=perhaps")).json()["details"][0]["path"] == "status"
    assert (await mira.get("/approvals?limit=0")).status_code == 400


async def test_a_request_whose_time_is_up_cannot_be_decided(platform: Platform) -> None:
    mira = await platform.user()
    request = await asked(platform, mira, seconds=-1)
    answer = await mira.call("POST", f"/approvals/{request.id}/approve")
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")


async def test_an_agent_is_resumed_with_the_internal_key_only(platform: Platform) -> None:
    mira = await platform.user()
    for _ in range(3):
        platform.system.tell(HEALING, TurnEnded(mira.workspace_id, "chad", mira.uid, "PROVIDER_ERROR"))
    assert (await mira.call("POST", "/admin/agents/chad/resume")).status_code == 401
    headers = {"X-Api-Key": Settings().internal_api_key}
    done = await platform.client.post("/admin/agents/chad/resume", headers=headers)
    assert (done.status_code, done.json()["workspaces"]) == (200, [mira.workspace_id])
    again = await platform.client.post(
        "/admin/agents/chad/resume", json={"workspaceId": mira.workspace_id}, headers=headers
    )
    assert again.json() == {"ok": True, "agentId": "chad", "workspaces": []}
