"""`/jobs` over real sockets, real actors and a real database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import trio

from tests.support.platform import Caller, Platform, problem, serving_platform
from tests.support.rehearsed import add_sessions
from understudy.actors.errors import Forbidden, NotFound
from understudy.actors.jobs.agentrun import agent_run
from understudy.actors.jobs.kinds import JobFailed, JobKind, JobResult, JobRun
from understudy.actors.jobs.messages import LARGEST_PAYLOAD
from understudy.actors.jobs.noop import NOOP
from understudy.actors.jobs.tree import jobs_spec
from understudy.http.app import create_app
from understudy.http.openapi import document
from understudy.storage.job import Job
from understudy.storage.jobs import JobRepository
from understudy.storage.pool import Pool
from understudy.storage.records import WorkspaceRole

LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()


async def for_ever(run: JobRun) -> JobResult:
    """Until somebody stops it."""
    await trio.sleep_forever()


KINDS = (NOOP, JobKind("for-ever", for_ever, public=True), JobKind("secret", for_ever))


@pytest.fixture
async def platform(pool: Pool) -> AsyncIterator[Platform]:
    async with serving_platform(pool) as platform:
        await platform.system.spawn(jobs_spec(platform.store, KINDS))
        yield platform


async def made(caller: Caller, **body: Any) -> dict[str, Any]:
    answer = await caller.call("POST", "/jobs", {"type": "noop", **body})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    return job


async def reaches(caller: Caller, job_id: str, status: str) -> dict[str, Any]:
    """Ask until the job has this status."""
    while True:
        job: dict[str, Any] = (await caller.get(f"/jobs/{job_id}")).json()
        if job["status"] == status:
            return job
        await trio.sleep(0.005)


async def test_a_job_is_taken_done_and_its_result_read(mira: Caller) -> None:
    job = await made(mira, payload={"sleepMs": 1})
    assert job | {"id": "", "createdAt": "", "nextAttemptAt": ""} == {
        "id": "",
        "workspaceId": mira.workspace_id,
        "uid": mira.uid,
        "type": "noop",
        "payload": {"sleepMs": 1},
        "status": "pending",
        "priority": 0,
        "dedupeKey": None,
        "attempts": 0,
        "maxRetries": 3,
        "timeoutSeconds": 300,
        "result": None,
        "error": None,
        "createdAt": "",
        "startedAt": None,
        "finishedAt": None,
        "nextAttemptAt": "",
    }
    done = await reaches(mira, job["id"], "completed")
    assert (done["result"], done["error"], done["attempts"], done["nextAttemptAt"]) == ({"attempt": 1}, None, 1, None)
    assert done["createdAt"] <= done["startedAt"] <= done["finishedAt"]


async def test_a_failed_job_says_why_and_dead_ones_can_be_listed(mira: Caller) -> None:
    waits = await made(mira, payload={"fail": 1}, maxRetries=1)
    dead = await made(mira, payload={"fail": 1}, maxRetries=0)
    failed = await reaches(mira, dead["id"], "failed")
    why = {"code": "JOB_FAILED", "message": "attempt 1 of 1 that were asked to fail", "retryable": True}
    assert (failed["error"], failed["result"]) == (why, None)
    while not (waiting := (await mira.get(f"/jobs/{waits['id']}")).json())["error"]:
        await trio.sleep(0.005)
    assert (waiting["attempts"], waiting["status"]) in {(1, "pending"), (2, "running"), (2, "completed")}
    page = (await mira.get("/jobs?status=dead")).json()
    assert ([job["id"] for job in page["jobs"]], page["total"]) == ([dead["id"]], 1)


async def test_jobs_are_listed_in_pages_without_what_may_be_large(mira: Caller) -> None:
    jobs = [await made(mira, runAt=LATER, priority=n) for n in range(3)]
    first = await mira.get("/jobs?limit=2&status=pending&type=noop")
    page = first.json()
    assert [job["id"] for job in page["jobs"]] == [jobs[2]["id"], jobs[1]["id"]]
    assert (page["total"], page["limit"], page["offset"]) == (3, 2, 0)
    assert page["jobs"][0] == {key: value for key, value in jobs[2].items() if key not in {"payload", "result"}}
    following = await mira.get(first.links["next"]["url"])
    assert [job["id"] for job in following.json()["jobs"]] == [jobs[0]["id"]]
    assert (await mira.get("/jobs?type=other")).json()["total"] == 0


async def test_what_waits_is_cancelled_and_what_runs_only_by_force(platform: Platform, mira: Caller) -> None:
    waiting = await made(mira, runAt=LATER)
    answer = await mira.call("DELETE", f"/jobs/{waiting['id']}")
    assert (answer.status_code, answer.json()["status"], answer.json()["nextAttemptAt"]) == (200, "cancelled", None)
    assert problem(await mira.call("DELETE", f"/jobs/{waiting['id']}")) == (409, "CONFLICT")
    running = await made(mira, type="for-ever")
    await reaches(mira, running["id"], "running")
    assert problem(await mira.call("DELETE", f"/jobs/{running['id']}")) == (409, "CONFLICT")
    assert problem(await mira.call("DELETE", f"/jobs/{running['id']}?force=false")) == (409, "CONFLICT")
    answer = await mira.call("DELETE", f"/jobs/{running['id']}?force=true")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert platform.system.addresses("job") == []
    assert problem(await mira.call("DELETE", f"/jobs/{running['id']}?force=true")) == (409, "CONFLICT")
    events = [line.event for line in await platform.store.audit.of_user(mira.uid)]
    assert (events.count("job.created"), events.count("job.cancelled")) == (2, 2)


async def test_one_dedupe_key_and_one_idempotency_key_are_one_job(mira: Caller) -> None:
    body = {"runAt": LATER, "dedupeKey": "nightly"}
    first = await made(mira, **body)
    assert (await made(mira, **body))["id"] == first["id"]
    other = await made(mira, **body | {"dedupeKey": "hourly"})
    assert other["id"] != first["id"]
    answers = [
        await mira.call("POST", "/jobs", {"type": "noop"}, X_Idempotency_Key="k"),
        await mira.call("POST", "/jobs", {"type": "noop"}, X_Idempotency_Key="k"),
    ]
    assert answers[0].content == answers[1].content
    assert answers[1].headers["idempotency-replayed"] == "true"
    assert problem(await mira.call("POST", "/jobs", {"type": "x"}, X_Idempotency_Key="k")) == (409, "CONFLICT")


async def test_a_job_that_makes_no_sense_is_refused_at_its_field(mira: Caller) -> None:
    for body, path in (
        ({}, "type"),
        ({"type": "x" * 65}, "type"),
        ({"type": "noop", "payload": []}, "payload"),
        ({"type": "noop", "payload": {"sleepMs": -1}}, "payload.sleepMs"),
        ({"type": "noop", "payload": {"sleepMs": "1"}}, "payload.sleepMs"),
        ({"type": "noop", "payload": {"slepMs": 1}}, "payload.slepMs"),
        ({"type": "for-ever", "payload": {"x": "y" * LARGEST_PAYLOAD}}, "payload"),
        ({"type": "noop", "payload": {"x": "\0"}}, "payload.x"),
        ({"type": "noop", "maxRetries": 11}, "maxRetries"),
        ({"type": "noop", "timeoutSeconds": 0}, "timeoutSeconds"),
        ({"type": "noop", "timeoutSeconds": 3601}, "timeoutSeconds"),
        ({"type": "noop", "runAt": "2026-03-02T09:10:00"}, "runAt"),
        ({"type": "noop", "runAt": "2126-03-02T09:10:00Z"}, "runAt"),
        ({"type": "noop", "priority": 101}, "priority"),
        ({"type": "noop", "dedupeKey": ""}, "dedupeKey"),
    ):
        answer = await mira.call("POST", "/jobs", body)
        assert problem(answer) == (400, "VALIDATION"), (body, answer.text)
        assert answer.json()["details"][0]["path"] == path
    for path, field in (
        ("status=fine", "status"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("offset=-1", "offset"),
    ):
        answer = await mira.get(f"/jobs?{path}")
        assert (problem(answer), answer.json()["details"][0]["path"]) == ((400, "VALIDATION"), field)


async def test_an_unknown_type_is_answered_with_the_public_ones(mira: Caller) -> None:
    for name in ("unheard-of", "secret"):
        answer = await mira.call("POST", "/jobs", {"type": name})
        assert problem(answer) == (400, "VALIDATION")
        assert answer.json()["error"] == f"type: there are no jobs of type '{name}'; there are: for-ever, noop"


async def test_only_so_many_unfinished_jobs_are_taken(mira: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.actors.jobs.queue.MOST_UNFINISHED", 2)
    jobs = [await made(mira, runAt=LATER) for _ in range(2)]
    answer = await mira.call("POST", "/jobs", {"type": "noop"})
    assert problem(answer) == (429, "RATE_LIMIT")
    assert int(answer.headers["retry-after"]) > 0
    await mira.call("DELETE", f"/jobs/{jobs[0]['id']}")
    await made(mira)


async def test_a_workspaces_jobs_are_its_members_and_a_viewer_only_reads(platform: Platform, mira: Caller) -> None:
    job = await made(mira, runAt=LATER)
    stranger = await platform.user()
    viewer = await platform.member(mira, WorkspaceRole.VIEWER)
    member = await platform.member(mira, WorkspaceRole.MEMBER)
    path = f"/jobs/{job['id']}"
    assert problem(await stranger.get(path)) == (404, "NOT_FOUND")
    assert problem(await stranger.call("DELETE", path)) == (404, "NOT_FOUND")
    assert (await stranger.get("/jobs")).json()["total"] == 0
    there = {"X_Workspace_Id": mira.workspace_id}
    for method, where, body in (("GET", "/jobs", None), ("GET", path, None), ("DELETE", path, None)):
        assert problem(await stranger.call(method, where, body, **there)) == (403, "FORBIDDEN")
        assert problem(await platform.client.request(method, where)) == (401, "UNAUTHENTICATED")
    assert problem(await stranger.call("POST", "/jobs", {"type": "noop"}, **there)) == (403, "FORBIDDEN")
    assert problem(await platform.client.post("/jobs", json={"type": "noop"})) == (401, "UNAUTHENTICATED")
    assert (await viewer.get(path)).json()["id"] == job["id"]
    assert (await viewer.get("/jobs")).json()["total"] == 1
    assert problem(await viewer.call("POST", "/jobs", {"type": "noop"})) == (403, "FORBIDDEN")
    assert problem(await viewer.call("DELETE", path)) == (403, "FORBIDDEN")
    assert (await member.call("DELETE", path)).status_code == 200


async def test_row_security_keeps_a_workspaces_jobs_even_from_a_query_that_forgot(
    platform: Platform, mira: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await made(mira, runAt=LATER)
    stranger = await platform.user()
    monkeypatch.setattr("understudy.storage.jobs._MINE", "id = %s AND (true OR workspace_id = %s)")
    assert await JobRepository(platform.pool).find(mira.workspace_id, job["id"]) is not None
    assert await JobRepository(platform.pool).find(stranger.workspace_id, job["id"]) is None


async def test_an_agent_that_ran_in_an_earlier_attempt_does_not_run_again(platform: Platform, mira: Caller) -> None:
    await add_sessions(platform)
    kind, now = agent_run(platform.system), datetime.now(UTC)
    job = Job("job_1", kind.name, {"message": "hello"}, now, now, mira.workspace_id, mira.uid, attempts=1)
    first = await kind.run(JobRun(job))
    assert first == await kind.run(JobRun(attrs.evolve(job, attempts=2)))
    assert first is not None
    session = (await mira.get(f"/sessions/{first['sessionId']}")).json()
    assert [message["content"] for message in session["messages"]] == ["hello", first["content"]]
    other = await kind.run(JobRun(attrs.evolve(job, id="job_2")))
    assert other is not None
    assert other["sessionId"] != first["sessionId"]
    stranger = await platform.user()
    for payload, uid, refusal in (
        ({"message": "hello", "agentId": "nobody"}, mira.uid, NotFound),
        ({"message": "hello"}, stranger.uid, Forbidden),
        ({"message": ""}, mira.uid, JobFailed),
        ({"message": "hello"}, None, JobFailed),
    ):
        with pytest.raises(refusal):
            await kind.run(JobRun(attrs.evolve(job, id="job_3", payload=payload, uid=uid)))


async def test_the_document_names_the_jobs_and_an_example_of_each_answer() -> None:
    paths: dict[str, Any] = document(create_app())["paths"]
    for path, method, status in (
        ("/jobs", "post", "202"),
        ("/jobs", "get", "200"),
        ("/jobs/{id}", "get", "200"),
        ("/jobs/{id}", "delete", "200"),
    ):
        described = paths[path][method]
        assert described["responses"][status]["content"]["application/json"]["example"]
        assert {"400", "401", "403", "429"} <= set(described["responses"])
