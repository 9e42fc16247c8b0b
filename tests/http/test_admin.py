"""`/admin`, `/audit` and `/onboarding` over real sockets, real actors and a real database."""

import csv
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import trio

from tests.support.identity import Settings
from tests.support.platform import Caller, Platform, serving_platform
from tests.support.rehearsed import add_oversight, add_sessions, audited
from understudy.http.csv import row
from understudy.storage.pool import Pool
from understudy.storage.records import AuditEntry, WorkspaceRole

KEY = Settings().internal_api_key
MODEL = {"provider": "builtin", "modelId": "rehearsal"}


@pytest.fixture
async def platform(pool: Pool) -> AsyncIterator[Platform]:
    async with serving_platform(pool) as platform:
        await add_sessions(platform)
        await add_oversight(platform)
        yield platform


class Operator:
    """Somebody with an internal key."""

    def __init__(self, platform: Platform, key: str = KEY) -> None:
        self._client = platform.client
        self._headers = {"X-Api-Key": key}

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        content = {} if body is None else {"json": body}
        return await self._client.request(method, path, headers=self._headers, **content)

    async def get(self, path: str) -> Any:
        answer = await self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_an_operator_sees_the_process_the_agents_and_what_a_user_does(platform: Platform) -> None:
    operator, mira, noor = Operator(platform), await platform.user(), await platform.user()
    agent = {"id": "ops", "model": MODEL, "systemPromptTemplate": "You help."}
    assert (await noor.call("POST", "/agents", agent)).status_code == 201
    said = (await mira.call("POST", "/agent/chat", {"message": "hello"})).json()

    health = await operator.get("/admin/health")
    assert health["status"] == "ok"
    assert health["activeSessions"] >= 0
    assert set(health["memory"]) == {"rssBytes", "heapBytes"}

    agents = await operator.get("/admin/agents")
    assert [(each["id"], each["workspaceId"]) for each in agents["agents"]] == [
        ("chad", None),
        ("ops", noor.workspace_id),
    ]
    assert agents["agents"][1]["config"]["systemPromptTemplate"] == "You help."
    second = await operator.get("/admin/agents?limit=1&offset=1")
    assert ([each["id"] for each in second["agents"]], second["count"]) == (["ops"], 2)

    usage = await operator.get(f"/admin/usage/{mira.uid}")
    assert usage["month"] == f"{datetime.now(UTC):%Y-%m}"
    assert usage["limit"] == 1000
    assert usage["totalTokens"] == usage["byAgent"]["chad"]["totalTokens"] == said["usage"]["totalTokens"]
    assert (await operator.get(f"/admin/usage/{mira.uid}?month=2020-01"))["totalTokens"] == 0

    sessions = await operator.get(f"/admin/sessions/{mira.uid}")
    assert ([each["id"] for each in sessions["sessions"]], sessions["total"]) == ([said["sessionId"]], 1)

    entries = (await operator.get(f"/admin/audit/{noor.uid}"))["entries"]
    made = next(entry for entry in entries if entry["event"] == "agent.created")
    assert (made["action"], made["agent_id"], made["uid"]) == ("created", "ops", noor.uid)
    assert set(made) == {
        "id", "event", "uid", "agent_id", "action", "session_id", "details", "metadata", "timestamp",
    }  # fmt: skip
    for path in ("usage", "sessions", "audit"):
        assert refused(await operator.call("GET", f"/admin/{path}/usr_nobody")) == (404, "NOT_FOUND")
    for month in ("2026-13", "0000-01", "march"):
        answer = await operator.call("GET", f"/admin/usage/{mira.uid}?month={month}")
        assert refused(answer) == (400, "VALIDATION")
    assert answer.json()["error"] == r"month: must match ^\d{4}-(0[1-9]|1[0-2])$"


async def test_a_key_is_shown_once_does_what_its_scopes_say_and_nothing_once_revoked(platform: Platform) -> None:
    operator = Operator(platform)
    made = await operator.call("POST", "/admin/keys", {"name": "watcher", "scopes": ["admin:read"]})
    assert made.status_code == 201
    secret, key_id = made.json()["key"], made.json()["id"]
    watcher = Operator(platform, secret)
    assert (await watcher.get("/admin/health"))["status"] == "ok"
    for method, path in (
        ("POST", "/admin/keys"),
        ("DELETE", f"/admin/keys/{key_id}"),
        ("GET", "/audit"),
        ("GET", "/audit/verify"),
        ("GET", "/audit/export.csv"),
        ("GET", "/diagnostics"),
        ("GET", "/diagnostics/actors"),
        ("POST", "/diagnostics/actors/limits/kill"),
    ):
        assert refused(await watcher.call(method, path)) == (403, "FORBIDDEN"), path
    keys = (await operator.get("/admin/keys"))["keys"]
    assert [(key["id"], key["name"]) for key in keys] == [(None, "internal"), (key_id, "watcher")]
    assert secret not in str(keys)
    assert refused(await operator.call("POST", "/admin/keys", {"name": "watcher", "scopes": ["*"]}))[0] == 409
    assert refused(await operator.call("POST", "/admin/keys", {"name": "x", "scopes": ["root"]}))[0] == 400
    assert refused(await operator.call("POST", "/admin/keys", {"name": "x", "scopes": []}))[0] == 400
    assert (await operator.call("DELETE", f"/admin/keys/{key_id}")).status_code == 204
    assert refused(await watcher.call("GET", "/admin/health")) == (401, "UNAUTHENTICATED")
    assert refused(await operator.call("DELETE", "/admin/keys/key_nothing")) == (404, "NOT_FOUND")


async def test_strangers_and_users_are_no_operators(platform: Platform) -> None:
    mira = await platform.user()
    for path in ("/admin/health", "/admin/agents", "/admin/keys", f"/admin/usage/{mira.uid}", "/audit/verify"):
        assert refused(await mira.get(path)) == (401, "UNAUTHENTICATED"), path
        guess = await platform.client.get(path, headers={"X-Api-Key": "usk_guess"})
        assert refused(guess) == (401, "UNAUTHENTICATED"), path


async def test_what_an_operator_does_to_actors_is_audited(platform: Platform) -> None:
    operator = Operator(platform)
    assert (await operator.call("POST", "/diagnostics/actors/limits/restart")).status_code == 200
    await audited(platform, "actor.restarted")
    entries = (await operator.get("/audit?event=actor.restarted"))["entries"]
    assert [entry["metadata"] for entry in entries] == [{"key": "internal", "address": "limits"}]


async def test_the_audit_log_is_read_by_operators_and_by_admins_about_their_workspace(platform: Platform) -> None:
    operator, mira, noor = Operator(platform), await platform.user(), await platform.user()
    viewer = await platform.member(mira, WorkspaceRole.VIEWER)
    for caller, name in ((mira, "a"), (mira, "b"), (noor, "c")):
        agent = {"id": name, "model": MODEL, "systemPromptTemplate": "You help."}
        assert (await caller.call("POST", "/agents", agent)).status_code == 201
    everything = await operator.get("/audit?event=agent.created&limit=2")
    assert (everything["total"], [entry["agentId"] for entry in everything["entries"]]) == (3, ["c", "b"])
    mine = (await mira.get("/audit?event=agent.created")).json()
    assert [entry["agentId"] for entry in mine["entries"]] == ["b", "a"]
    theirs = (await mira.get(f"/audit?workspaceId={noor.workspace_id}")).json()
    assert theirs["entries"] == []
    assert (await operator.get(f"/audit?workspaceId={noor.workspace_id}&event=agent.created"))["total"] == 1
    moment = mine["entries"][1]["timestamp"]
    assert (await mira.get(f"/audit?event=agent.created&to={moment}")).json()["total"] == 1
    assert refused(await viewer.get("/audit")) == (403, "FORBIDDEN")
    assert refused(await mira.get("/audit", X_Workspace_Id=noor.workspace_id)) == (403, "FORBIDDEN")
    assert refused(await platform.client.get("/audit")) == (401, "UNAUTHENTICATED")
    for query in ("limit=1001", "limit=0", "from=yesterday", "from=2026-03-01T00:00:00", "offset=-1"):
        assert refused(await operator.call("GET", f"/audit?{query}")) == (400, "VALIDATION"), query


async def test_a_changed_line_is_named_by_its_place_and_id(platform: Platform) -> None:
    operator = Operator(platform)
    await platform.user()
    await platform.user()
    whole = await operator.get("/audit/verify")
    assert (whole["valid"], whole["firstBroken"]) == (True, None)
    async with platform.pool.connection() as connection:
        await connection.execute(b"ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
        await connection.execute(b"UPDATE audit_log SET uid = 'usr_innocent' WHERE position = 2")
    second = await platform.store.audit.at(2)
    assert second is not None
    broken = await operator.get("/audit/verify")
    assert (broken["valid"], broken["count"]) == (False, whole["count"])
    assert (broken["firstBroken"]["position"], broken["firstBroken"]["id"]) == (2, second.entry.id)


async def test_the_export_has_every_line_and_no_formula(platform: Platform) -> None:
    mira = await platform.user()
    lines = [
        AuditEntry(f"aud_{n}", "=1+1", "low", datetime(2026, 3, 1, tzinfo=UTC), workspace_id=mira.workspace_id)
        for n in range(1200)
    ]
    await platform.store.audit.append(*lines)
    answer = await mira.get("/audit/export.csv?event=%3D1%2B1")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    head, *rows = csv.reader(answer.text.splitlines())
    assert head[:4] == ["position", "id", "event", "severity"]
    assert [each[1] for each in rows] == [f"aud_{n}" for n in range(1200)]
    assert {each[2] for each in rows} == {"'=1+1"}
    other = await platform.user()
    assert len((await other.get("/audit/export.csv?event=%3D1%2B1")).text.splitlines()) == 1


async def test_lines_are_streamed_as_they_are_written_and_from_any_place_on(platform: Platform) -> None:
    mira, noor = await platform.user(), await platform.user()
    before = await platform.store.audit.end()

    async def places(caller: Caller, count: int, after: int | None = None) -> list[int]:
        head = caller.headers | ({"Last-Event-ID": str(after)} if after is not None else {})
        wanted = "".join(f"{name}: {value}\n" for name, value in head.items())
        seen = b""
        async with await platform.running.connect() as raw:
            await raw.send(f"GET /audit/stream HTTP/1.1\nHost: x\n{wanted}\n")
            assert (await raw.head()).status == 200
            opened.set()
            async for chunk in raw.chunks():
                seen += chunk
                if seen.count(b"event: audit") >= count:
                    break
        return [int(line[4:]) for line in seen.decode().splitlines() if line.startswith("id: ")]

    opened = trio.Event()
    found: list[int] = []

    async def tail() -> None:
        found.extend(await places(mira, 1))

    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tail)
            await opened.wait()
            for caller in (noor, mira):
                agent = {"id": "ops", "model": MODEL, "systemPromptTemplate": "You help."}
                assert (await caller.call("POST", "/agents", agent)).status_code == 201
        assert found == [before + 2], "and not what was done in another workspace"
        assert await places(mira, 1, before) == found
    past = await mira.get("/audit/stream?follow=false&event=agent.created")
    assert [line for line in past.text.splitlines() if line.startswith("id: ")] == [f"id: {found[0]}"]
    future = await mira.get("/audit/stream", Last_Event_ID="999999")
    assert refused(future) == (400, "VALIDATION")
    assert refused(await mira.get("/audit/stream", Last_Event_ID="ses_1:4")) == (400, "VALIDATION")
    assert refused(await platform.client.get("/audit/stream")) == (401, "UNAUTHENTICATED")


def test_a_row_is_quoted_where_it_must_be() -> None:
    written = row(["a", None, 'say "hi"', "x,y", "-2", -2, "@me", "two\nlines"])
    assert written == b'a,,"say ""hi""","x,y",\'-2,-2,\'@me,"two\nlines"\r\n'


async def set_up(caller: Caller, body: Any = None, **headers: str) -> httpx.Response:
    return await caller.call("POST", "/onboarding/setup", {} if body is None else body, **headers)


async def test_a_user_is_set_up_once_with_what_they_asked_for(platform: Platform) -> None:
    mira = await platform.user()
    own = {"id": "mine", "model": MODEL, "systemPromptTemplate": "You are mine."}
    body = {
        "workspaceName": "Lighthouse",
        "plan": "team",
        "agents": ["assistant", "coder", own],
        "profile": {"name": "Mira"},
    }
    done = await set_up(mira, body)
    assert (done.status_code, done.json()["created"]) == (201, True)
    workspace = done.json()["workspace"]
    assert (workspace["id"], workspace["name"], workspace["plan"]) == (mira.workspace_id, "Lighthouse", "team")
    assert [agent["id"] for agent in done.json()["agents"]] == ["assistant", "coder", "mine"]
    assert (await mira.get("/agent/memory/profile")).json()["profile"] == {"name": "Mira"}
    answer = await mira.call("POST", "/agent/chat", {"message": "hello", "agentId": "assistant"})
    assert answer.status_code == 200, answer.text
    again = await set_up(mira, {"agents": ["researcher"]})
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert again.json()["agents"] == done.json()["agents"]
    forced = await set_up(mira, {"force": True}, X_Idempotency_Key="f")
    assert (forced.status_code, forced.json()["workspace"]["name"]) == (201, "My workspace")
    assert [agent["id"] for agent in forced.json()["agents"]] == ["assistant"]
    assert (await set_up(mira, {"force": True}, X_Idempotency_Key="f")).json() == forced.json()


async def test_nothing_is_set_up_when_anything_is_wrong(platform: Platform) -> None:
    mira = await platform.user()
    own = {"id": "mine", "model": MODEL, "systemPromptTemplate": "You are mine."}
    for body, path in (
        ({"agents": ["butler"]}, "agents[0]"),
        ({"agents": [{**own, "tools": {"allow": ["teleport"]}}]}, "agents[0].tools.allow[0]"),
        ({"agents": ["assistant", "assistant"]}, "agents[1]"),
        ({"plan": "free"}, "plan"),
        ({"agents": ["assistant"], "provider": "nobody"}, "agents[0].model.provider"),
    ):
        answer = await set_up(mira, body)
        assert refused(answer) == (400, "VALIDATION"), body
        assert answer.json()["details"][0]["path"] == path
    assert refused(await set_up(mira, {"agents": [{**own, "id": "chad"}]})) == (409, "CONFLICT")
    assert refused(await set_up(mira, {"profile": {"x": "y" * 70_000}}))[0] == 413
    assert refused(await platform.client.post("/onboarding/setup", json={})) == (401, "UNAUTHENTICATED")
    assert (await set_up(mira)).json()["created"] is True, "nothing of the above was left behind"
