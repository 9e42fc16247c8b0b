"""`/workspaces` over real sockets, real actors and a real database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import trio

from tests.support.node import some_email
from tests.support.platform import Caller, Platform
from understudy.storage.membership import MOST_OWNED
from understudy.storage.records import WorkspaceRole

VIEWER, MEMBER, ADMIN, OWNER = reversed(WorkspaceRole)
AGENT: dict[str, Any] = {
    "id": "ops-helper",
    "model": {"provider": "ollama", "modelId": "qwen2.5:7b"},
    "systemPromptTemplate": "Help.",
}


async def team(platform: Platform, owner: Caller | None = None) -> Caller:
    """Somebody acting in a team's workspace of their own."""
    owner = owner or await platform.user()
    created = await owner.call("POST", "/workspaces", {"name": "Acme", "plan": "team"})
    assert created.status_code == 201, created.text
    return attrs.evolve(owner, workspace_id=created.json()["id"])


async def joined(of: Caller, who: Caller, role: WorkspaceRole = MEMBER) -> Caller:
    """Somebody made a member by the owner, acting in that workspace."""
    answer = await of.call("POST", at(of, "/members"), {"uid": who.uid, "role": role.value})
    assert answer.status_code == 201, answer.text
    return attrs.evolve(who, workspace_id=of.workspace_id)


def at(caller: Caller, path: str = "") -> str:
    return f"/workspaces/{caller.workspace_id}{path}"


async def status(caller: Caller, method: str, path: str, body: Any = None) -> tuple[int, str | None]:
    """The status and, for an error, its code."""
    answer = await caller.call(method, path, body)
    return answer.status_code, answer.json().get("code") if answer.content else None


async def members(owner: Caller) -> dict[str, str]:
    return {each["uid"]: each["role"] for each in (await owner.get(at(owner))).json()["members"]}


async def test_a_new_workspace_is_answered_whole_listed_and_read_by_its_owner(platform: Platform) -> None:
    mira = await platform.user()
    asked = {
        "name": "Acme",
        "plan": "team",
        "settings": {"timezone": "Europe/Vienna", "retentionDays": 30, "deep": nested(16)},
    }
    created = await mira.call("POST", "/workspaces", asked, X_Idempotency_Key="k")
    shown = created.json()
    assert created.status_code == 201
    assert created.headers["location"] == f"/workspaces/{shown['id']}"
    assert {"ownerId": mira.uid, "yourRole": "owner", **asked}.items() <= shown.items()
    assert abs(datetime.fromtimestamp(shown["createdAt"] / 1000, UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    again = await mira.call("POST", "/workspaces", asked, X_Idempotency_Key="k")
    assert again.json() == shown
    listed = (await mira.get("/workspaces")).json()["workspaces"]
    assert [each["id"] for each in listed] == [mira.workspace_id, shown["id"]]
    assert listed[1] == shown
    detail = (await mira.get(f"/workspaces/{shown['id']}")).json()
    (member,) = detail.pop("members")
    assert (member["uid"], member["role"]) == (mira.uid, "owner")
    assert detail == {**shown, "allowedProviders": None, "allowedModels": None, "grants": []}


def nested(levels: int) -> Any:
    """So many lists within each other."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


WRONG: list[tuple[Any, str]] = [
    ({}, "name"),
    ({"name": ""}, "name"),
    ({"name": " \u00a0"}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"name": "x", "plan": "pro"}, "plan"),
    ({"name": "x", "settings": []}, "settings"),
    ({"name": "x", "settings": {"timezone": "Mars/Olympus"}}, "timezone"),
    ({"name": "x", "settings": {"timezone": 1}}, "timezone"),
    *(({"name": "x", "settings": {"retentionDays": days}}, "retentionDays") for days in (0, 3651, 1.5, True, "1")),
    *(({"name": "x", "settings": {"k": nested(levels)}}, "settings") for levels in (17, 900)),
    ({"name": "x", "settings": {"k" * 65: 1}}, "settings"),
    ({"name": "x", "settings": {str(n): n for n in range(101)}}, "settings"),
    ({"name": "x", "settings": {"k": "v" * 17_000}}, "settings"),
]


async def test_a_workspace_that_cannot_be_is_refused_with_the_field(platform: Platform) -> None:
    mira = await platform.user()
    for body, path in WRONG:
        answer = await mira.call("POST", "/workspaces", body)
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION")
        assert [each["path"] for each in answer.json()["details"]] == [path]
    assert len((await mira.get("/workspaces")).json()["workspaces"]) == 1


async def test_one_may_own_so_many_workspaces_and_no_more_however_many_requests_come_at_once(
    platform: Platform,
) -> None:
    mira = await platform.user()
    async with platform.pool.connection() as connection:
        await connection.execute(
            "INSERT INTO workspaces (id, name, owner_id, plan, created_at)"
            " SELECT 'ws_' || n, 'x', %s, 'team', now() FROM generate_series(1, %s) n",
            (mira.uid, MOST_OWNED - 2),
        )
    answers: list[int] = []

    async def create() -> None:
        answers.append((await mira.call("POST", "/workspaces", {"name": "one more"})).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(create)
    assert sorted(answers) == [201, 409, 409, 409]


async def test_settings_are_merged_taken_away_by_null_and_kept_otherwise(platform: Platform) -> None:
    mira = await team(platform)
    first = {"name": "Renamed", "timezone": "Asia/Tokyo", "colour": "red", "settings": {"deep": {"a": 1}}}
    changed = await mira.call("PUT", at(mira, "/settings"), first)
    assert changed.status_code == 200, changed.text
    assert changed.json()["settings"] == {"timezone": "Asia/Tokyo", "colour": "red", "deep": {"a": 1}}
    read = (await mira.get(at(mira))).json()
    assert await status(mira, "PUT", at(mira, "/settings"), read) == (200, None), "what was read can be sent back"
    again = await mira.call("PUT", at(mira, "/settings"), {"colour": None, "deep": {"b": 2}})
    assert again.json()["settings"] == {"timezone": "Asia/Tokyo", "deep": {"b": 2}}
    assert (again.json()["name"], again.json()["plan"]) == ("Renamed", "team")
    refused: list[Any] = [{"timezone": "Nowhere"}, {"plan": "pro"}, {"name": ""}, {"k": "v" * 17_000}, []]
    for wrong in refused:
        assert await status(mira, "PUT", at(mira, "/settings"), wrong) == (400, "VALIDATION")
    assert (await mira.get(at(mira))).json()["settings"] == again.json()["settings"]


async def test_a_personal_workspace_has_one_member_until_its_owner_chooses_another_plan(platform: Platform) -> None:
    mira, noor = await platform.user(), await platform.user()
    wish = {"uid": noor.uid}
    assert await status(mira, "POST", at(mira, "/members"), wish) == (409, "CONFLICT")
    assert await status(mira, "PUT", at(mira, "/settings"), {"plan": "team"}) == (200, None)
    assert await status(mira, "POST", at(mira, "/members"), wish) == (201, None)
    assert await status(mira, "PUT", at(mira, "/settings"), {"plan": "personal"}) == (409, "CONFLICT")
    assert await status(mira, "DELETE", at(mira, f"/members/{noor.uid}")) == (204, None)
    assert await status(mira, "PUT", at(mira, "/settings"), {"plan": "personal"}) == (200, None)


async def test_a_member_is_named_by_id_or_address_and_named_again_changes_role(platform: Platform) -> None:
    mira = await team(platform)
    email = some_email()
    asked = {"email": email.upper(), "password": "correct horse", "name": "Noor"}
    noor = (await mira.client.post("/auth/register", json=asked)).json()["user"]
    added = await mira.call("POST", at(mira, "/members"), {"email": email})
    assert added.status_code == 201
    assert {"uid": noor["id"], "email": email, "name": "Noor", "role": "member"}.items() <= added.json().items()
    changed = await mira.call("POST", at(mira, "/members"), {"uid": noor["id"], "role": "admin"})
    assert (changed.status_code, changed.json()) == (200, {**added.json(), "role": "admin"})
    for body, expected in (
        ({"uid": "usr_nobody"}, 404),
        ({"email": some_email()}, 404),
        ({}, 400),
        ({"uid": noor["id"], "email": email}, 400),
        ({"uid": email}, 400),
        ({"uid": noor["id"], "role": "king"}, 400),
    ):
        assert (await status(mira, "POST", at(mira, "/members"), body))[0] == expected, body
    assert await members(mira) == {mira.uid: "owner", noor["id"]: "admin"}


CHANGES: list[tuple[str, str, Any]] = [
    ("PUT", "/settings", {"colour": "red"}),
    ("POST", "/members", {"uid": "{stranger}"}),
    ("GET", "/stats", None),
    ("POST", "/grants", {"receivingWorkspaceId": "{elsewhere}", "agentId": "ops-helper"}),
    ("DELETE", "/grants", {"receivingWorkspaceId": "{elsewhere}", "agentId": "ops-helper"}),
    ("PUT", "/restrictions", {"allowedProviders": ["claude"]}),
]


@pytest.mark.parametrize("role", [VIEWER, MEMBER, ADMIN, OWNER])
async def test_what_each_role_may(platform: Platform, role: WorkspaceRole) -> None:
    owner = await team(platform)
    await owner.call("POST", "/agents", AGENT)
    stranger, who = await platform.user(), await joined(owner, await platform.user(), role)
    words = {"{stranger}": stranger.uid, "{elsewhere}": stranger.workspace_id}
    may_change = role in {ADMIN, OWNER}
    for method, path, body in CHANGES:
        filled = {k: words.get(v, v) if isinstance(v, str) else v for k, v in body.items()} if body else None
        code, said = await status(who, method, at(who, path), filled)
        assert (code < 300) is may_change, (method, path, code)
        assert may_change or said == "FORBIDDEN"
    assert (await status(who, "PUT", at(who, "/settings"), {"plan": "enterprise"}))[0] == (
        200 if role is OWNER else 403
    )
    shown = (await who.get(at(who))).json()
    assert shown["yourRole"] == role.value
    assert ("members" in shown, "grants" in shown, "allowedModels" in shown) == (may_change,) * 3
    removal = await status(who, "DELETE", at(who, f"/members/{stranger.uid}"))
    assert removal[0] == (204 if may_change else 403)
    assert await status(who, "DELETE", at(who, f"/members/{who.uid}")) == (204, None), "anybody may leave"
    assert await status(who, "GET", at(who)) == (403, "FORBIDDEN")


async def test_an_admin_neither_makes_an_owner_nor_touches_one(platform: Platform) -> None:
    owner = await team(platform)
    admin = await joined(owner, await platform.user(), ADMIN)
    other = await joined(owner, await platform.user(), MEMBER)
    for method, path, body in (
        ("POST", "/members", {"uid": other.uid, "role": "owner"}),
        ("POST", "/members", {"uid": admin.uid, "role": "owner"}),
        ("POST", "/members", {"uid": owner.uid, "role": "viewer"}),
        ("DELETE", f"/members/{owner.uid}", None),
    ):
        assert await status(admin, method, at(admin, path), body) == (403, "FORBIDDEN")
    assert await members(owner) == {owner.uid: "owner", admin.uid: "admin", other.uid: "member"}


async def test_the_last_owner_stays_and_of_two_that_leave_at_once_one_does(platform: Platform) -> None:
    mira = await team(platform)
    for method, path, body in (
        ("DELETE", f"/members/{mira.uid}", None),
        ("POST", "/members", {"uid": mira.uid, "role": "admin"}),
    ):
        assert await status(mira, method, at(mira, path), body) == (409, "CONFLICT")
    for _ in range(3):
        noor = await joined(mira, await platform.user(), OWNER)
        answers: dict[str, int] = {}

        async def leave(who: Caller, answers: dict[str, int]) -> None:
            answers[who.uid] = (await status(who, "DELETE", at(who, f"/members/{who.uid}")))[0]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave, mira, answers)
            nursery.start_soon(leave, noor, answers)
        assert sorted(answers.values()) == [204, 409]
        mira = mira if answers[mira.uid] == 409 else noor
        assert await members(mira) == {mira.uid: "owner"}
        assert (await mira.get(at(mira))).json()["ownerId"] == mira.uid


async def test_who_is_removed_is_out_with_their_next_request_and_a_new_role_holds_at_once(platform: Platform) -> None:
    owner = await team(platform)
    noor = await joined(owner, await platform.user(), ADMIN)
    assert await status(noor, "POST", "/agents", AGENT) == (201, None)
    await owner.call("POST", at(owner, "/members"), {"uid": noor.uid, "role": "viewer"})
    assert await status(noor, "DELETE", "/agents/ops-helper") == (403, "FORBIDDEN")
    assert (await noor.get("/agents")).status_code == 200
    assert await status(owner, "DELETE", at(owner, f"/members/{noor.uid}")) == (204, None)
    assert await status(noor, "GET", "/agents") == (403, "FORBIDDEN")
    assert await status(owner, "DELETE", at(owner, f"/members/{noor.uid}")) == (404, "NOT_FOUND")
    assert [each["id"] for each in (await noor.get("/workspaces")).json()["workspaces"]] != [owner.workspace_id]


async def test_a_stranger_s_workspace_and_none_at_all_look_the_same(platform: Platform) -> None:
    owner, stranger = await team(platform), await platform.user()
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", f"/members/{owner.uid}", None),
        *CHANGES,
    ):
        said = set()
        for workspace_id in (owner.workspace_id, "ws_nowhere"):
            answer = await stranger.call(method, f"/workspaces/{workspace_id}{path}", body)
            said.add((answer.status_code, answer.json()["error"]))
        assert len(said) == 1
        assert said.pop()[0] == 403


async def test_every_change_is_in_the_audit_log_and_what_changes_nothing_is_not(platform: Platform) -> None:
    mira = await team(platform)
    noor = await joined(mira, await platform.user())
    await mira.call("POST", at(mira, "/members"), {"uid": noor.uid, "role": "member"})
    await mira.call("PUT", at(mira, "/settings"), {"colour": "red"})
    await mira.call("PUT", at(mira, "/settings"), {"colour": "red"})
    await mira.call("PUT", at(mira, "/restrictions"), {"allowedProviders": ["claude"]})
    await mira.call("DELETE", at(mira, f"/members/{noor.uid}"))
    lines = [line for line in await platform.store.audit.of_user(mira.uid) if line.workspace_id == mira.workspace_id]
    assert [(line.event, line.metadata.get("member")) for line in reversed(lines)] == [
        ("workspace.created", None),
        ("workspace.member_set", noor.uid),
        ("workspace.changed", None),
        ("workspace.restricted", None),
        ("workspace.member_removed", noor.uid),
    ]
    assert all(line.request_id for line in lines)
