"""Jobs are begun at once, done a few at a time, tried again, and never twice at a time."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.actors.jobs.stage import START, people, staged, wall
from understudy.actors.errors import Forbidden, QuotaExceeded
from understudy.actors.facts import read_fact
from understudy.actors.jobs.kinds import JobFailed, JobRun
from understudy.actors.jobs.messages import DISPATCHER, JobStatus, job_address
from understudy.actors.jobs.services import LEASE
from understudy.runtime import ActorCrashed
from understudy.storage.job import JobError
from understudy.storage.memory import MemoryStore


async def test_a_new_job_begins_at_once_and_its_result_is_kept(autojump_clock: MockClock) -> None:
    async with staged(sweep_every=3600.0) as stage:
        began = trio.current_time()
        job = await stage.enqueue(payload={"n": 1})
        await stage.begun(1)
        assert trio.current_time() - began < 0.1
        assert stage.bench.runs[0].job.payload == {"n": 1}
        node = stage.system.node(job_address(job.id))
        assert node is not None
        assert node.labels == {"type": "bench", "attempt": "1", "workspace": stage.workspace, "uid": stage.uid}
        stage.bench.finish(job)
        done = await stage.reaches(job, JobStatus.COMPLETED)
        assert (done.result, done.attempts, done.error) == ({"attempt": 1}, 1, None)


async def test_a_job_that_was_put_off_begins_when_it_is_due(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        due = wall() + timedelta(hours=1, milliseconds=250)
        await stage.enqueue(run_at=due)
        await stage.begun(1)
        assert timedelta() <= wall() - due < timedelta(seconds=0.1)


async def test_one_workspace_has_two_at_a_time_and_a_node_as_many_as_it_may(autojump_clock: MockClock) -> None:
    async with staged(concurrency=5) as stage:

        async def brief(run: JobRun) -> None:
            await trio.sleep(1.0)

        stage.bench.do = brief
        others = [await people(stage.store, name) for name in ("noor", "odo")]
        jobs = [await stage.enqueue() for _ in range(6)]
        await stage.begun(2)
        assert stage.bench.most == 2
        for uid, workspace in others:
            jobs += [await stage.enqueue(uid=uid, workspace_id=workspace) for _ in range(3)]
        for job in jobs:
            await stage.reaches(job, JobStatus.COMPLETED)
        assert stage.bench.most == 5
        assert len(stage.bench.runs) == len(jobs)


async def test_a_failed_attempt_is_followed_by_another_and_the_last_failure_is_told(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        job = await stage.enqueue("noop", payload={"fail": 2})
        done = await stage.reaches(job, JobStatus.COMPLETED)
        assert (done.attempts, done.result) == (3, {"attempt": 3})
        dead = await stage.enqueue("noop", payload={"fail": 9}, max_retries=1)
        failed = await stage.reaches(dead, JobStatus.FAILED)
        assert (failed.attempts, failed.is_dead) == (2, True)
        unseen = await stage.enqueue("noop", payload={"fail": 9}, max_retries=0, public=False)
        await stage.reaches(unseen, JobStatus.FAILED)
        (fact,) = (read_fact(out.item) for out in stage.store.tables.outbox.values())
        assert (fact.event, fact.uid, fact.workspace_id) == ("job.failed", stage.uid, stage.workspace)
        assert fact.data == {
            "jobId": dead.id,
            "type": "noop",
            "attempts": 2,
            "code": "JOB_FAILED",
            "error": "attempt 2 of 9 that were asked to fail",
        }


@pytest.mark.parametrize(
    ("error", "code", "again"),
    [
        (JobFailed("no use"), "JOB_FAILED", False),
        (JobFailed("later", code="BUSY", retryable=True), "BUSY", True),
        (Forbidden("not you"), "FORBIDDEN", False),
        (QuotaExceeded("used up", retry_after=7200.0), "QUOTA_EXCEEDED", True),
        (ZeroDivisionError("secret \0 words"), "INTERNAL", True),
    ],
)
async def test_what_cannot_get_better_is_not_tried_again(
    autojump_clock: MockClock, error: Exception, code: str, again: bool
) -> None:
    async with staged() as stage:

        async def fail(run: JobRun) -> Mapping[str, object] | None:
            raise error

        stage.bench.do = fail
        job = await stage.enqueue(max_retries=1)
        began = wall()
        failed = await stage.reaches(job, JobStatus.FAILED)
        assert failed.error is not None
        assert (failed.error.code, failed.attempts, failed.is_dead) == (code, 1 + again, again)
        assert "secret" not in failed.error.message
        if isinstance(error, QuotaExceeded):
            assert wall() - began >= timedelta(hours=2)


async def test_a_job_that_takes_too_long_is_cancelled_and_has_failed(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        job = await stage.enqueue(timeout_seconds=7, max_retries=0)
        began = trio.current_time()
        failed = await stage.reaches(job, JobStatus.FAILED)
        assert 7 <= trio.current_time() - began < 9
        assert failed.error is not None
        assert failed.error == JobError("TIMEOUT", "it took longer than the 7 s it may take", retryable=True)
        assert stage.bench.ended == [job.id]


async def test_a_job_outlives_its_lease_when_that_is_renewed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged() as stage, staged(stage.store, stage.bench):
        renew = stage.store.claims.renew

        async def slow(*args: Any) -> frozenset[str]:
            await trio.sleep(1)
            return await renew(*args)

        monkeypatch.setattr(stage.store.claims, "renew", slow)
        job = await stage.enqueue(timeout_seconds=3600)
        await trio.sleep(10 * LEASE)
        stage.bench.finish(job)
        done = await stage.reaches(job, JobStatus.COMPLETED)
        assert (done.attempts, len(stage.bench.runs)) == (1, 1)


async def test_a_worker_that_was_paused_too_long_stops_and_changes_nothing(autojump_clock: MockClock) -> None:
    async with staged(concurrency=1) as stage:
        job = await stage.enqueue()
        await stage.begun(1)
        # As if this node had been stopped for longer than its lease while another one looked.
        stage.store.tables.claims[job.id] = attrs.evolve(stage.store.tables.claims[job.id], until=START)
        async with staged(stage.store, stage.bench) as other:
            await stage.begun(2)
            await trio.sleep(LEASE)
            assert stage.bench.ended == [job.id]  # the first one, which learnt of it
            other.bench.finish(job)
            done = await stage.reaches(job, JobStatus.COMPLETED)
            assert (done.attempts, done.token, done.result) == (2, 3, {"attempt": 2})


async def test_while_the_database_is_away_a_job_goes_on_for_as_long_as_its_lease(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        short, long = await stage.enqueue(), await stage.enqueue()
        await stage.begun(2)
        stage.store.tables.available = False
        stage.bench.finish(short)
        await trio.sleep(LEASE / 2)
        assert stage.bench.ended == [short.id]
        stage.store.tables.available = True
        assert (await stage.reaches(short, JobStatus.COMPLETED)).attempts == 1
        stage.store.tables.available = False
        await trio.sleep(LEASE + 1)
        assert stage.bench.ended == [short.id, long.id]
        stage.store.tables.available = True
        await stage.begun(3)
        stage.bench.finish(long)
        assert (await stage.reaches(long, JobStatus.COMPLETED)).attempts == 2


async def test_a_job_killed_from_the_tree_goes_back_and_begins_again(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        job = await stage.enqueue(max_retries=0)
        await stage.begun(1)
        began = trio.current_time()
        await stage.system.kill(job_address(job.id))
        await stage.begun(2)
        assert trio.current_time() - began < 1
        assert stage.bench.ended == [job.id]
        stage.bench.finish(job)
        assert (await stage.reaches(job, JobStatus.COMPLETED)).attempts == 1


async def test_a_job_restarted_from_the_tree_goes_back_and_only_one_does_it(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        job = await stage.enqueue()
        await stage.begun(1)
        await stage.system.restart(job_address(job.id))
        await stage.begun(2)
        await trio.sleep(LEASE)
        assert stage.bench.running == 1
        stage.bench.finish(job)
        assert (await stage.reaches(job, JobStatus.COMPLETED)).attempts == 1


async def test_the_crash_of_a_jobs_actor_is_a_failed_attempt(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged() as stage:
        job = await stage.enqueue(max_retries=0)
        await stage.begun(1)

        async def broken(*_: object, **__: object) -> bool:
            raise RuntimeError("a mistake in the lease")

        monkeypatch.setattr(stage.store.claims, "renew", broken)
        failed = await stage.reaches(job, JobStatus.FAILED)
        assert failed.error == JobError("CRASHED", "the actor that did it crashed: ExceptionGroup", retryable=True)
        assert stage.bench.ended == [job.id]


async def test_a_crash_that_takes_long_to_write_down_is_an_attempt_all_the_same(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged() as stage:
        job = await stage.enqueue(max_retries=0)
        await stage.begun(1)
        fail = stage.store.claims.fail

        async def broken(*_: object, **__: object) -> bool:
            raise RuntimeError("a mistake in the lease")

        async def slow(*args: Any, **named: Any) -> bool:
            await trio.sleep(LEASE / 2)  # meanwhile it is looked for lost jobs
            return await fail(*args, **named)

        monkeypatch.setattr(stage.store.claims, "renew", broken)
        monkeypatch.setattr(stage.store.claims, "fail", slow)
        assert (await stage.reaches(job, JobStatus.FAILED)).attempts == 1
        assert len(stage.bench.runs) == 1


async def test_the_dispatcher_may_die_and_jobs_go_on(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        first = await stage.enqueue()
        await stage.begun(1)
        await stage.system.kill(DISPATCHER)
        second = await stage.enqueue()
        await stage.begun(2)
        third = await stage.enqueue()
        stage.bench.finish(first)
        await stage.begun(3)
        for job in (second, third):
            stage.bench.finish(job)
            await stage.reaches(job, JobStatus.COMPLETED)
        assert [stage.job(job).attempts for job in (first, second, third)] == [1, 1, 1]
        assert len(stage.bench.runs) == 3


async def test_a_claim_whose_actor_never_came_is_given_back(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged() as stage:

        async def nowhere(*_: object, **__: object) -> None:
            raise ActorCrashed(job_address("x"))

        with monkeypatch.context() as patched:
            patched.setattr(stage.system, "spawn", nowhere)
            job = await stage.enqueue()
            await trio.sleep(1)
        assert stage.job(job).status is JobStatus.PENDING
        await stage.begun(1)
        assert stage.job(job).attempts == 1


async def test_a_stop_of_the_server_gives_the_leases_back(autojump_clock: MockClock) -> None:
    store = MemoryStore(now=wall)
    await people(store)
    async with staged(store) as stage:
        running = await stage.enqueue(max_retries=0)
        waiting = [await stage.enqueue() for _ in range(5)]
        await stage.begun(2)
    assert {job.status for job in store.tables.jobs.values()} == {JobStatus.PENDING}
    assert store.tables.jobs[running.id].attempts == 0
    assert store.tables.claims == {}
    async with staged(store) as stage:
        for job in (running, *waiting):
            stage.bench.finish(job)
        for job in (running, *waiting):
            await stage.reaches(job, JobStatus.COMPLETED)


async def test_a_type_that_this_node_does_not_know_is_left_for_one_that_does(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        job = await stage.enqueue()
        await stage.begun(1)
        await stage.system.kill(job_address(job.id))
        stage.store.tables.jobs[job.id] = attrs.evolve(stage.job(job), type="of the next version", max_retries=0)
        failed = await stage.reaches(job, JobStatus.FAILED)
        assert failed.error is not None
        assert failed.error.code == "UNKNOWN_TYPE"


async def test_a_result_that_is_too_large_is_left_out(autojump_clock: MockClock) -> None:
    async with staged() as stage:

        async def chatty(run: JobRun) -> Mapping[str, object]:
            return {"said": "x" * 300_000}

        stage.bench.do = chatty
        done = await stage.reaches(await stage.enqueue(), JobStatus.COMPLETED)
        assert done.result == {"omitted": "the result is larger than 256 KB"}


async def test_the_dispatcher_tells_what_it_does(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        job = await stage.enqueue()
        await stage.begun(1)
        shown = await stage.system.inspect(DISPATCHER)
        assert (shown["running"], shown["concurrency"], shown["begun"]) == ([job.id], 4, 1)
