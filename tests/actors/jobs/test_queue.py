"""What the queue takes, and what it makes of cancelling."""

from collections.abc import Mapping

import pytest
import trio
from trio.testing import MockClock

from tests.actors.jobs.stage import staged
from understudy.actors.errors import Conflict, Invalid, NotFound, Unavailable
from understudy.actors.jobs.kinds import JobRun
from understudy.actors.jobs.messages import JOBS, CancelJob, GetJob, JobStatus, job_address


async def test_users_may_not_have_every_type_and_the_node_may(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        with pytest.raises(Invalid, match="there are: bench, noop"):
            await stage.enqueue("secret", public=True)
        with pytest.raises(Invalid, match="there are: bench, noop, secret"):
            await stage.enqueue("unknown", public=False)
        job = await stage.enqueue("secret", uid=None, workspace_id=None)
        assert (job.workspace_id, job.type) == (None, "secret")
        internal = await stage.enqueue("secret")
        assert (internal.workspace_id, internal.internal) == (stage.workspace, True)
        await stage.begun(2)
        with pytest.raises(NotFound):
            await stage.system.ask(JOBS, GetJob(stage.workspace, internal.id))
        await stage.enqueue("noop")
        assert [line.entry.event for line in stage.store.tables.audit] == ["job.created"]


async def test_everything_that_is_wrong_is_named_at_once(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        with pytest.raises(Invalid) as refused:
            await stage.enqueue(
                "noop", payload={"sleepMs": "x"}, max_retries=99, timeout_seconds=0, priority=-101, dedupe_key=""
            )
        assert [(each.path, each.issue) for each in refused.value.details] == [
            ("maxRetries", "too_large"),
            ("timeoutSeconds", "too_small"),
            ("priority", "too_small"),
            ("dedupeKey", "too_short"),
            ("payload.sleepMs", "wrong_type"),
        ]
        with pytest.raises(Invalid, match="payload: not json"):
            await stage.enqueue(payload={"x": object()})


async def test_a_job_that_runs_is_stopped_with_all_it_started_before_that_is_answered(
    autojump_clock: MockClock,
) -> None:
    async with staged() as stage:
        cleaned: list[str] = []

        async def careful(run: JobRun) -> Mapping[str, object] | None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(3)
                    cleaned.append(run.job.id)
            raise AssertionError

        stage.bench.do = careful
        job, other = await stage.enqueue(), await stage.enqueue()
        await stage.begun(2)
        with pytest.raises(Conflict, match="force=true"):
            await stage.system.ask(JOBS, CancelJob(stage.workspace, stage.uid, job.id))
        cancelled = await stage.system.ask(JOBS, CancelJob(stage.workspace, stage.uid, job.id, force=True))
        assert cleaned == [job.id]
        assert cancelled.status is stage.job(job).status is JobStatus.CANCELLED
        with trio.fail_after(1):
            while job_address(job.id) in stage.system.addresses("job"):
                await trio.sleep(0.01)
        assert stage.system.addresses("job") == [job_address(other.id)]
        with pytest.raises(Conflict, match="cancelled already"):
            await stage.system.ask(JOBS, CancelJob(stage.workspace, stage.uid, job.id, force=True))


async def test_a_job_that_ends_while_it_is_cancelled_stays_cancelled(autojump_clock: MockClock) -> None:
    async with staged() as stage:

        async def stubborn(run: JobRun) -> Mapping[str, object]:
            with trio.CancelScope(shield=True):
                await trio.sleep(60)
            return {"done": True}

        stage.bench.do = stubborn
        job = await stage.enqueue()
        await stage.begun(1)
        await stage.system.ask(JOBS, CancelJob(stage.workspace, stage.uid, job.id, force=True), timeout=30)
        await trio.sleep(600)
        assert (stage.job(job).status, stage.job(job).result) == (JobStatus.CANCELLED, None)


async def test_another_workspaces_job_is_no_job(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        job = await stage.enqueue()
        for message in (GetJob("ws_other", job.id), CancelJob("ws_other", "usr_x", job.id, force=True)):
            with pytest.raises(NotFound):
                await stage.system.ask(JOBS, message)
        assert (await stage.system.ask(JOBS, GetJob(stage.workspace, job.id))).id == job.id


async def test_nobody_but_the_dispatcher_makes_an_actor_of_a_job(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        with pytest.raises(NotFound):
            await stage.system.ensure(job_address("job_x"))


async def test_while_the_database_is_away_the_queue_says_so_and_then_goes_on(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        stage.store.tables.available = False
        with pytest.raises(Unavailable):
            await stage.enqueue("noop")
        await trio.sleep(60)
        stage.store.tables.available = True
        await stage.reaches(await stage.enqueue("noop"), JobStatus.COMPLETED)
        shown = await stage.system.inspect(JOBS)
        assert (shown["taken"], shown["public"]) == (1, ["bench", "noop"])
