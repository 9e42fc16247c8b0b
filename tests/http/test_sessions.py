"""`/sessions` over real sockets, real actors and a real database."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.platform import Caller, Platform, serving_platform
from tests.support.rehearsed import add_sessions, audited
from understudy.storage.pool import Pool
from understudy.storage.records import WorkspaceRole

CODER = {
    "id": "coder",
    "model": {"provider": "builtin", "modelId": "rehearsal"},
    "systemPromptTemplate": "You write code.",
}


@pytest.fixture
async def platform(pool: Pool) -> AsyncIterator[Platform]:
    async with serving_platform(pool) as platform:
        await add_sessions(platform)
        yield platform


async def chat(caller: Caller, message: str, **fields: Any) -> dict[str, Any]:
    answer = await caller.call("POST", "/agent/chat", {"message": message, **fields})
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_what_was_said_is_found_with_the_hits_marked_and_by_its_owner_only(platform: Platform) -> None:
    mira, noor = await platform.user(), await platform.user()
    said = await chat(mira, "Where do herons nest in <winter>?")
    await chat(noor, "herons, too")
    await mira.call("POST", "/agent/reset", {})
    found = (await mira.get("/sessions/search/messages?q=heron")).json()["results"]
    assert {hit["sessionId"] for hit in found} == {said["sessionId"]}
    question = next(hit for hit in found if hit["role"] == "user")
    assert question["snippet"].startswith("Where do <mark>herons</mark> nest")
    assert 0 < question["score"] <= 1
    assert question["agentId"] == "chad"
    assert len((await mira.get("/sessions/search/messages?q=heron&limit=1")).json()["results"]) == 1
    assert (await mira.get("/sessions/search/messages?q=pelican")).json() == {"results": []}


@pytest.mark.parametrize("query", ["", "?q=", f"?q={'x' * 501}", "?q=a&limit=0", "?q=a&limit=101", "?q=%00"])
async def test_a_search_for_nothing_or_too_much_is_refused(platform: Platform, query: str) -> None:
    mira = await platform.user()
    assert refused(await mira.get(f"/sessions/search/messages{query}")) == (400, "VALIDATION")
    assert refused(await platform.client.get("/sessions/search/messages?q=a")) == (401, "UNAUTHENTICATED")


async def test_a_session_goes_on_with_another_agent(platform: Platform) -> None:
    mira = await platform.user()
    assert (await mira.call("POST", "/agents", CODER)).status_code == 201
    session = (await chat(mira, "hello"))["sessionId"]
    body = {"targetAgentId": "coder", "reason": "code"}
    moved = await mira.call("POST", f"/sessions/{session}/handoff", body, X_Idempotency_Key="h1")
    assert (moved.status_code, moved.json()["id"], moved.json()["agentId"]) == (200, session, "coder")
    assert moved.json()["messageCount"] == 3
    again = await mira.call("POST", f"/sessions/{session}/handoff", body, X_Idempotency_Key="h1")
    assert (again.json(), again.headers["idempotency-replayed"]) == (moved.json(), "true")
    assert (await chat(mira, "go on", agentId="coder"))["sessionId"] == session
    assert (await chat(mira, "you again"))["sessionId"] != session
    messages = (await mira.get(f"/sessions/{session}")).json()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "system", "user", "assistant"]
    assert messages[2]["content"].startswith("This conversation was handed over from the agent chad")
    line = await audited(platform, "session.handoff")
    assert (line.uid, line.session_id, line.metadata) == (mira.uid, session, {"from": "chad", "to": "coder"})
    assert line.request_id == moved.headers["x-request-id"]


async def test_a_handoff_is_refused_for_each_reason_by_its_code(platform: Platform) -> None:
    mira, noor = await platform.user(), await platform.user()
    assert (await mira.call("POST", "/agents", CODER)).status_code == 201
    assert (await noor.call("POST", "/agents", {**CODER, "id": "hers"})).status_code == 201
    session = (await chat(mira, "hello"))["sessionId"]

    async def hand(caller: Caller, body: dict[str, Any], session_id: str = session) -> tuple[int, str]:
        return refused(await caller.call("POST", f"/sessions/{session_id}/handoff", body))

    assert await hand(mira, {}) == (400, "VALIDATION")
    assert await hand(mira, {"agentId": "coder", "reason": ""}) == (400, "VALIDATION")
    assert await hand(mira, {"agentId": "nobody"}) == (404, "NOT_FOUND")
    assert await hand(mira, {"agentId": "hers"}) == (403, "FORBIDDEN")
    assert await hand(noor, {"agentId": "chad"}) == (404, "NOT_FOUND")
    assert await hand(mira, {"agentId": "coder"}, "ses_nothing") == (404, "NOT_FOUND")
    await chat(mira, "hello", agentId="coder")
    assert await hand(mira, {"agentId": "coder"}) == (409, "CONFLICT")
    await mira.call("POST", "/agent/reset", {})
    assert await hand(mira, {"agentId": "coder"}) == (409, "CONFLICT")
    looking = await platform.client.post(f"/sessions/{session}/handoff", json={"agentId": "coder"})
    assert refused(looking) == (401, "UNAUTHENTICATED")


async def test_admins_see_everybodys_sessions_of_their_workspace_and_it_is_noted(platform: Platform) -> None:
    mira = await platform.user()
    noor, admin = [await platform.member(mira, role) for role in (WorkspaceRole.MEMBER, WorkspaceRole.ADMIN)]
    theirs = (await chat(noor, "a secret"))["sessionId"]
    here = f"workspaceId={mira.workspace_id}"
    for sees_all in (mira, admin):
        listed = (await sees_all.get(f"/sessions?{here}")).json()
        assert [session["id"] for session in listed["sessions"]] == [theirs]
        assert (await sees_all.get("/sessions")).json()["total"] == 0
        assert (await sees_all.get(f"/sessions/{theirs}")).status_code == 404
        assert (await sees_all.get(f"/sessions/{theirs}?{here}")).json()["messages"][0]["content"] == "a secret"
    viewed = await audited(platform, "session.viewed")
    assert (viewed.session_id, viewed.metadata) == (theirs, {"owner": noor.uid})
    assert viewed.request_id is not None
    await chat(mira, "mine")
    assert (await noor.get(f"/sessions?{here}")).json()["total"] == 1, "a member sees their own"
    assert [s["uid"] for s in (await noor.get(f"/sessions?{here}")).json()["sessions"]] == [noor.uid]
    stranger = await platform.user()
    assert refused(await stranger.get(f"/sessions?{here}")) == (403, "FORBIDDEN")
    assert refused(await stranger.get(f"/sessions/{theirs}?{here}")) == (403, "FORBIDDEN")
    own = f"workspaceId={stranger.workspace_id}"
    assert refused(await stranger.get(f"/sessions/{theirs}?{own}")) == (404, "NOT_FOUND")


async def test_older_messages_are_read_with_before(platform: Platform) -> None:
    mira = await platform.user()
    for number in range(3):
        session = (await chat(mira, f"question {number}"))["sessionId"]
    newest = (await mira.get(f"/sessions/{session}?limit=2")).json()["messages"]
    assert newest[0]["content"] == "question 2"
    older = (await mira.get(f"/sessions/{session}?limit=2&before={newest[0]['id']}")).json()["messages"]
    assert older[0]["content"] == "question 1"
    assert (await mira.get(f"/sessions/{session}?before=msg_unknown")).json()["messages"] == []
