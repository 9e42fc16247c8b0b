"""`/autonomous` over real sockets, real actors and a real database."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio

from tests.support.identity import Settings
from tests.support.platform import Platform, serving_platform
from tests.support.rehearsed import add_oversight, add_sessions, audited
from tests.support.storage import START
from understudy.actors.autonomous.jobs import autonomous_job_kinds
from understudy.actors.errors import Detail
from understudy.actors.jobs.kinds import JobRun
from understudy.actors.workspaces.messages import WORKSPACES, MembershipsChanged
from understudy.storage.job import Job
from understudy.storage.pool import Pool
from understudy.storage.records import WorkspaceRole

KEY = Settings().internal_api_key


@pytest.fixture
async def platform(pool: Pool) -> AsyncIterator[Platform]:
    async with serving_platform(pool) as platform:
        await add_sessions(platform)
        await add_oversight(platform)
        yield platform


async def post(platform: Platform, path: str, body: Any, key: str = KEY, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await platform.client.post(f"/autonomous/{path}", json=body, headers={"X-Api-Key": key} | named)


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_an_agent_is_run_on_a_users_behalf_in_their_own_session(platform: Platform) -> None:
    mira = await platform.user()
    task = {"uid": mira.uid, "taskMessage": "hello"}
    done = await post(platform, "run", task, X_Idempotency_Key="k1")
    assert done.status_code == 200, done.text
    assert set(done.json()) == {"uid", "agentId", "sessionId", "content", "toolsUsed", "usage"}
    assert done.headers["ratelimit-limit"] == "60"
    again = await post(platform, "run", task, X_Idempotency_Key="k1")
    assert (again.json(), again.headers["idempotency-replayed"]) == (done.json(), "true")
    (session,) = (await mira.get("/sessions")).json()["sessions"]
    assert (session["id"], session["surface"], session["surfaceId"]) == (done.json()["sessionId"], "prop", "autonomous")
    assert session["messageCount"] == 2
    line = await audited(platform, "autonomous.run")
    assert (line.uid, line.metadata["key"], line.session_id) == (mira.uid, "internal", session["id"])


@pytest.mark.parametrize("path", ["run", "batch"])
async def test_a_task_whose_answer_was_lost_is_answered_by_its_turn_when_it_is_asked_for_again(
    platform: Platform, path: str
) -> None:
    mira = await platform.user()
    task = {"taskMessage": "hello", **({"uid": mira.uid} if path == "run" else {"uids": [mira.uid]})}
    done = await post(platform, path, task, X_Idempotency_Key="k1")
    async with platform.pool.connection() as connection:  # as if it had ended in doubt
        await connection.execute(
            b"UPDATE idempotency_keys SET status_code = NULL, body = NULL, claimant = NULL, doubtful = true"
            b" WHERE turn_id IS NULL"
        )
    again = await post(platform, path, task, X_Idempotency_Key="k1")
    assert (again.status_code, again.json()) == (200, done.json())
    assert "idempotency-replayed" not in again.headers
    (session,) = (await mira.get("/sessions")).json()["sessions"]
    assert session["messageCount"] == 2


async def test_a_run_is_refused_for_each_reason_by_its_code(platform: Platform) -> None:
    mira, noor = await platform.user(), await platform.user()
    task = {"uid": mira.uid, "taskMessage": "hello"}
    assert refused(await post(platform, "run", {**task, "uid": "usr_nobody"})) == (404, "NOT_FOUND")
    assert refused(await post(platform, "run", {**task, "agentId": "nobody"})) == (404, "NOT_FOUND")
    assert refused(await post(platform, "run", {**task, "workspaceId": noor.workspace_id})) == (403, "FORBIDDEN")
    await platform.member(noor, WorkspaceRole.MEMBER, mira)
    platform.system.tell(WORKSPACES, MembershipsChanged(mira.uid))
    several = await post(platform, "run", task)
    assert refused(several) == (400, "VALIDATION")
    assert several.json()["details"][0]["path"] == "workspaceId"
    assert (await post(platform, "run", {**task, "workspaceId": noor.workspace_id})).status_code == 200
    for wrong in ({"taskMessage": "x"}, {**task, "taskMessage": ""}, {**task, "timeoutSeconds": 601}):
        assert refused(await post(platform, "run", wrong)) == (400, "VALIDATION")
    assert refused(await post(platform, "run", task, key="usk_guess")) == (401, "UNAUTHENTICATED")
    async with platform.pool.connection() as connection:
        await connection.execute(b"UPDATE users SET disabled_at = now() WHERE id = %s", (noor.uid,))
    assert refused(await post(platform, "run", {**task, "uid": noor.uid})) == (403, "FORBIDDEN")
    made = await platform.client.post(
        "/admin/keys", json={"name": "reader", "scopes": ["admin:read"]}, headers={"X-Api-Key": KEY}
    )
    for path in ("run", "batch"):
        assert refused(await post(platform, path, task, key=made.json()["key"])) == (403, "FORBIDDEN")


async def test_a_batch_says_what_became_of_each(platform: Platform) -> None:
    mira, noor = await platform.user(), await platform.user()
    everybody = await post(platform, "batch", {"uids": [mira.uid, noor.uid], "taskMessage": "hello"})
    assert everybody.status_code == 200, everybody.text
    assert [result["ok"] for result in everybody.json()["results"]] == [True, True]
    some = await post(
        platform,
        "batch",
        {"tasks": [{"uid": mira.uid, "taskMessage": "hi"}, {"uid": "usr_nobody", "taskMessage": "hi"}]},
    )
    assert some.status_code == 207
    body = some.json()
    assert (body["total"], body["succeeded"], body["failed"]) == (2, 1, 1)
    good, bad = body["results"]
    assert (good["uid"], good["status"], good["ok"]) == (mira.uid, 200, True)
    assert bad == {
        "uid": "usr_nobody",
        "agentId": "chad",
        "status": 404,
        "ok": False,
        "error": "there is no such user",
        "code": "NOT_FOUND",
    }
    for _ in range(2):
        none = await post(
            platform, "batch", {"uids": ["usr_a", "usr_b"], "taskMessage": "hello"}, X_Idempotency_Key="n"
        )
        assert (none.status_code, none.json()["failed"]) == (502, 2)
        assert "idempotency-replayed" not in none.headers, "what came to nothing may be tried again"
    asked: tuple[dict[str, Any], ...] = (
        {"uids": [mira.uid]},
        {"taskMessage": "x"},
        {"uids": [mira.uid], "taskMessage": "x", "tasks": [{"uid": mira.uid, "taskMessage": "x"}]},
        {"uids": ["u"] * 101, "taskMessage": "x"},
        {"tasks": []},
    )
    for wrong in asked:
        assert refused(await post(platform, "batch", wrong)) == (400, "VALIDATION"), wrong


async def test_a_batch_that_is_a_job_runs_no_task_twice_however_often_it_is_attempted(platform: Platform) -> None:
    mira = await platform.user()
    (kind,) = autonomous_job_kinds(platform.system)
    task = {"uid": mira.uid, "taskMessage": "hello"}
    payload = {"batch": {"tasks": [task, {**task, "uid": "usr_nobody"}]}, "key": "robot"}
    assert kind.check(payload) == ()
    assert kind.check({"batch": {}, "key": "robot"}) == (Detail("batch.tasks", "either_uids_or_tasks"),)
    assert not kind.public
    attempt = JobRun(Job("job_1", kind.name, payload, START, START))
    first, second = [await kind.run(attempt) for _ in range(2)]
    assert first is not None
    assert second == first
    assert (first["succeeded"], first["failed"]) == (1, 1)
    (session,) = (await mira.get("/sessions")).json()["sessions"]
    assert session["messageCount"] == 2


async def test_a_key_runs_sixty_times_a_minute_by_both_routes(platform: Platform) -> None:
    statuses = []
    for number in range(61):
        answer = await post(platform, "run" if number % 2 else "batch", {})
        statuses.append(answer.status_code)
    assert statuses == [400] * 60 + [429]
    assert refused(answer) == (429, "RATE_LIMIT")
    assert int(answer.headers["retry-after"]) >= 1


async def test_four_run_at_a_time_and_what_nobody_waits_for_is_stopped(pool: Pool) -> None:
    async with serving_platform(pool) as platform:
        await add_sessions(platform, word_delay=60.0)
        await add_oversight(platform)
        uids = [(await platform.user()).uid for _ in range(6)]

        async def running() -> int:
            return len(await platform.store.sessions.abandoned_sessions())

        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(post, platform, "batch", {"uids": uids, "taskMessage": "hello"})
                while await running() < 4:
                    await trio.sleep(0.01)
                await platform.user()  # time enough for a fifth to begin
                assert await running() == 4
                nursery.cancel_scope.cancel()  # which closes the connection
            while await running():
                await trio.sleep(0.01)
        begun = [(await platform.store.sessions.list(uid))[1] for uid in uids]
        assert sum(begun) == 4
