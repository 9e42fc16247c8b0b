"""Work goes on while its lease is held, and for not a moment longer than nobody else can have it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from tests.actors.jobs.stage import people, wall
from understudy.actors.lease import held
from understudy.storage.job import Job
from understudy.storage.memory import MemoryStore

LASTING = timedelta(seconds=30)


@asynccontextmanager
async def claimed() -> AsyncIterator[tuple[MemoryStore, Job]]:
    """A job that was claimed just now."""
    with trio.fail_after(3600):
        store = MemoryStore(now=wall)
        uid, workspace = await people(store)
        await store.jobs.add(Job("job_1", "bench", {}, wall(), wall(), workspace_id=workspace, uid=uid))
        (job,) = await store.claims.claim("one", limit=1, per_workspace=1, now=wall(), lease=LASTING)
        yield store, job


async def work(store: MemoryStore, job: Job, seconds: float) -> float:
    """Work for so long; for how long it lasted."""
    began = trio.current_time()
    async with held(store.claims, {job.id: job.token}, LASTING, wall):
        await trio.sleep(seconds)
    return trio.current_time() - began


async def test_work_outlives_its_lease_and_nobody_else_can_have_it_meanwhile(autojump_clock: MockClock) -> None:
    async with claimed() as (store, job), trio.open_nursery() as nursery:

        async def look() -> None:
            while True:
                await trio.sleep(1)
                assert store.tables.claims[job.id].until > wall()

        nursery.start_soon(look)
        assert await work(store, job, 300) == 300
        nursery.cancel_scope.cancel()


async def test_work_ends_without_an_error_when_somebody_else_has_its_lease(autojump_clock: MockClock) -> None:
    async with claimed() as (store, job):
        await store.claims.release(job.id, job.token, now=wall())
        await store.claims.claim("two", limit=1, per_workspace=1, now=wall(), lease=LASTING)
        assert await work(store, job, 300) == 10


async def test_an_absent_database_is_waited_for_until_the_lease_is_over(autojump_clock: MockClock) -> None:
    async with claimed() as (store, job), trio.open_nursery() as nursery:

        async def away(since: float, until: float) -> None:
            await trio.sleep(since)
            store.tables.available = False
            await trio.sleep(until - since)
            store.tables.available = True

        nursery.start_soon(away, 11, 39)
        assert await work(store, job, 60) == 60
        nursery.start_soon(away, 11, 1000)
        assert await work(store, job, 300) == 40  # renewed at 10, and not after


async def test_a_renewal_that_hangs_does_not_prolong_the_lease(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await trio.sleep_forever()

    async with claimed() as (store, job):
        monkeypatch.setattr(store.claims, "renew", hang)
        assert await work(store, job, 300) == 30


async def test_what_the_work_raises_is_raised_and_the_lease_is_let_go(autojump_clock: MockClock) -> None:
    async with claimed() as (store, job):
        with pytest.raises(ExceptionGroup) as caught:
            async with held(store.claims, {job.id: job.token}, LASTING, wall):
                raise ZeroDivisionError
        assert caught.group_contains(ZeroDivisionError)
        until = store.tables.claims[job.id].until
        await trio.sleep(60)
        assert store.tables.claims[job.id].until == until
