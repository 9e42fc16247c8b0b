"""The queue: who gets which job when, and whose word about its end counts."""

from datetime import timedelta

import attrs
import pytest
import trio

from tests.support.storage import START, Store, at
from understudy.storage.entries import Published
from understudy.storage.errors import StoreConflict
from understudy.storage.job import Job, JobError, JobFilter, JobStatus
from understudy.storage.records import AuditEntry, new_id

LEASE = timedelta(seconds=30)
BROKEN = JobError("JOB_FAILED", "it broke")
LOST = JobError("LEASE_LOST", "whoever did it is gone")


def job(workspace_id: str | None = None, **more: object) -> Job:
    plain = Job(new_id("job"), "noop", {"n": 1}, START, START, workspace_id)
    return attrs.evolve(plain, **more)  # type: ignore[arg-type]  # whichever fields a test is about


def line() -> AuditEntry:
    return AuditEntry(new_id("aud"), "job.created", "info", START)


def told(failed: Job) -> Published:
    return Published(f"evt_{failed.id}", "job.failed", failed.workspace_id, b"{}", START)


async def claim(
    store: Store, limit: int = 10, *, worker: str = "one", seconds: float = 0, share: int = 2
) -> tuple[Job, ...]:
    return await store.repositories.claims.claim(worker, limit=limit, per_workspace=share, now=at(seconds), lease=LEASE)


async def workspace(store: Store) -> str:
    return (await store.user(f"{new_id('x').lower()}@example.org"))[1].id


async def test_a_job_is_read_back_as_it_was_put_in_by_its_workspace_alone(store: Store) -> None:
    jobs = store.repositories.jobs
    user, mine = await store.user()
    asked = job(mine.id, uid=user.id, priority=3, dedupe_key="k", max_retries=0, timeout_seconds=7, run_at=at(60))
    assert await jobs.add(asked, line()) == asked
    assert await jobs.add(asked, line()) == asked
    assert await jobs.find(mine.id, asked.id) == asked
    other = await workspace(store)
    assert await jobs.find(other, asked.id) is None
    assert await jobs.cancel(other, asked.id, line(), now=START) is None
    assert await jobs.list(JobFilter(other)) == ((), 0)
    assert await jobs.list(JobFilter(mine.id)) == ((attrs.evolve(asked, payload={}),), 1)


async def test_unfinished_jobs_of_one_type_and_workspace_share_no_dedupe_key(store: Store) -> None:
    jobs, mine, other = store.repositories.jobs, await workspace(store), await workspace(store)
    first = await jobs.add(job(mine, dedupe_key="k"))
    assert (await jobs.add(job(mine, dedupe_key="k"), line())).id == first.id
    for different in (job(mine, dedupe_key="l"), job(mine, type="x", dedupe_key="k"), job(other, dedupe_key="k")):
        assert (await jobs.add(different)).id == different.id
    system = await jobs.add(job(dedupe_key="k"))
    assert (await jobs.add(job(dedupe_key="k"))).id == system.id
    await jobs.cancel(mine, first.id, line(), now=START)
    again = job(mine, dedupe_key="k")
    assert (await jobs.add(again)).id == again.id


async def test_a_workspace_has_only_so_many_unfinished_jobs_and_the_system_any_number(store: Store) -> None:
    jobs, mine = store.repositories.jobs, await workspace(store)
    first = await jobs.add(job(mine), most=2)
    await jobs.add(job(mine), most=2)
    with pytest.raises(StoreConflict, match="number of jobs"):
        await jobs.add(job(mine), line(), most=2)
    assert await jobs.add(first, most=2) == first
    await jobs.cancel(mine, first.id, line(), now=START)
    await jobs.add(job(mine), most=2)
    for _ in range(3):
        await jobs.add(job(), most=2)


async def test_the_list_is_newest_first_in_pages_and_by_status_type_and_death(store: Store) -> None:
    jobs, claims, mine = store.repositories.jobs, store.repositories.claims, await workspace(store)
    names = ["waits", "retried", "dead", "refused"]
    made = [await jobs.add(job(mine, type=name, created_at=at(n))) for n, name in enumerate(names)]
    taken = {one.type: one for one in await claim(store, share=9)}
    await claims.release(taken["waits"].id, 1, now=at(1))
    await claims.fail(taken["retried"].id, 1, BROKEN, now=at(1), retry_at=at(99), told=told)
    await claims.fail(taken["dead"].id, 1, BROKEN, now=at(1), retry_at=None, told=told)
    final = attrs.evolve(BROKEN, retryable=False)
    await claims.fail(taken["refused"].id, 1, final, now=at(1), retry_at=None, told=told)

    async def found(**asked: object) -> list[str]:
        page, _ = await jobs.list(JobFilter(mine, **asked))  # type: ignore[arg-type]
        return [one.type for one in page]

    assert await found() == names[::-1]
    assert await found(limit=2, offset=1) == ["dead", "retried"]
    assert await found(status=JobStatus.FAILED) == ["refused", "dead"]
    assert await found(status=JobStatus.PENDING, type="retried") == ["retried"]
    assert await found(dead=True) == ["dead"]
    retried = await jobs.find(mine, made[1].id)
    assert retried is not None
    assert (retried.error, retried.run_at, retried.attempts) == (BROKEN, at(99), 1)
    assert (await jobs.list(JobFilter(mine, limit=1)))[1] == 4


async def test_jobs_are_claimed_when_due_by_priority_then_by_time(store: Store) -> None:
    jobs = store.repositories.jobs
    for name, priority, seconds in (("later", 9, 60), ("second", 0, -2), ("third", 0, -1), ("first", 1, 0)):
        await jobs.add(job(type=name, priority=priority, run_at=at(seconds)))
    assert await store.repositories.claims.next_due(START) == at(60)
    assert [one.type for one in await claim(store, 2)] == ["first", "second"]
    (third,) = await claim(store)
    assert (third.type, third.status, third.attempts, third.token, third.started_at) == (
        "third",
        JobStatus.RUNNING,
        1,
        1,
        START,
    )
    assert await claim(store) == ()
    assert [one.type for one in await claim(store, seconds=60)] == ["later"]
    assert await store.repositories.claims.next_due(START) is None


async def test_no_workspace_has_more_than_its_share_running_and_whoever_has_least_comes_first(store: Store) -> None:
    jobs, claims = store.repositories.jobs, store.repositories.claims
    greedy, modest = await workspace(store), await workspace(store)
    for n in range(5):
        await jobs.add(job(greedy, priority=100, run_at=at(n - 10)))
    assert [one.workspace_id for one in await claim(store, 3)] == [greedy, greedy]
    for _ in range(3):
        await jobs.add(job(modest, priority=-100))
    await jobs.add(job())
    assert await claim(store, 0) == ()
    taken = await claim(store, 3, worker="two")
    assert sorted(str(one.workspace_id) for one in taken) == sorted([modest, modest, "None"])
    assert await claim(store) == ()
    freed = next(one for one in taken if one.workspace_id == modest)
    await claims.complete(freed.id, freed.token, None, now=START)
    assert [one.workspace_id for one in await claim(store)] == [modest]


async def test_a_workspace_with_nothing_running_comes_before_one_that_waits_longer(store: Store) -> None:
    jobs = store.repositories.jobs
    busy, idle = await workspace(store), await workspace(store)
    for n in range(2):
        await jobs.add(job(busy, run_at=at(n - 10)))
    assert [one.workspace_id for one in await claim(store, 1)] == [busy]
    await jobs.add(job(idle))
    assert [one.workspace_id for one in await claim(store, 1)] == [idle]
    assert [one.workspace_id for one in await claim(store, 1)] == [busy]


async def test_what_nobody_asked_for_is_not_seen_and_takes_turns_of_its_own_one_place_behind(store: Store) -> None:
    jobs, mine = store.repositories.jobs, await workspace(store)
    internal = [await jobs.add(job(mine, internal=True, run_at=at(n - 10)), most=3) for n in range(3)]
    with pytest.raises(StoreConflict):
        await jobs.add(job(mine, internal=True), most=3)
    asked = [await jobs.add(job(mine, run_at=at(n - 5)), most=3) for n in range(3)]
    assert await jobs.find(mine, internal[0].id) is None
    assert await jobs.cancel(mine, internal[0].id, line(), now=START, force=True) is None
    assert (await jobs.list(JobFilter(mine)))[1] == 3
    assert [one.id for one in await claim(store, 1)] == [asked[0].id]
    assert [one.id for one in await claim(store, 2)] == [internal[0].id, asked[1].id]
    assert [one.id for one in await claim(store)] == [internal[1].id]


async def test_any_number_of_workers_share_the_queue_without_meeting(store: Store) -> None:
    mine = [await workspace(store) for _ in range(6)]
    for number in range(60):
        await store.repositories.jobs.add(job(mine[number % 6]))
    claimed: list[str] = []

    async def work(worker: str) -> None:
        while taken := await claim(store, 4, worker=worker, share=2):
            assert len(taken) <= 4
            for one in taken:
                claimed.append(one.id)
                await store.repositories.claims.complete(one.id, one.token, None, now=START)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(work, f"worker {number}")
    while taken := await claim(store):  # what was left because its workspace was busy when they looked
        for one in taken:
            claimed.append(one.id)
            await store.repositories.claims.complete(one.id, one.token, None, now=START)
    assert len(claimed) == len(set(claimed)) == 60


async def test_an_end_is_said_once_by_whoever_holds_the_newest_claim(store: Store) -> None:
    jobs, claims, mine = store.repositories.jobs, store.repositories.claims, await workspace(store)
    made = await jobs.add(job(mine))
    (slow,) = await claim(store)
    assert await claims.renew({made.id: slow.token}, at(40))
    assert await claims.rescue("two", (), LOST, now=at(39), told=told) == 0
    assert await claims.rescue("two", (), LOST, now=at(41), told=told) == 1
    assert not await claims.renew({made.id: slow.token}, at(99))
    assert not await claims.complete(made.id, slow.token, {"by": "slow"}, now=at(41))
    (quick,) = await claim(store, worker="two", seconds=41)
    assert (quick.id, quick.attempts, quick.error) == (made.id, 2, LOST)
    for late in (
        await claims.complete(made.id, slow.token, {"by": "slow"}, now=at(42)),
        await claims.fail(made.id, slow.token, BROKEN, now=at(42), retry_at=at(43), told=told),
        await claims.fail(made.id, slow.token, BROKEN, now=at(42), retry_at=None, told=told),
        await claims.release(made.id, slow.token, now=at(42)),
    ):
        assert late is False
    assert await claims.complete(made.id, quick.token, {"by": "quick"}, now=at(43))
    assert await claims.complete(made.id, quick.token, {"by": "quick"}, now=at(43))  # the answer to the first was lost
    done = await jobs.find(mine, made.id)
    assert done is not None
    assert (done.status, done.result, done.error, done.finished_at) == (
        JobStatus.COMPLETED,
        {"by": "quick"},
        None,
        at(43),
    )
    assert not await claims.renew({made.id: quick.token}, at(99))


async def test_what_was_given_back_was_no_attempt(store: Store) -> None:
    jobs, claims, mine = store.repositories.jobs, store.repositories.claims, await workspace(store)
    made = await jobs.add(job(mine))
    (taken,) = await claim(store)
    assert await claims.release(made.id, taken.token, now=at(5))
    waiting = await jobs.find(mine, made.id)
    assert waiting is not None
    assert (waiting.status, waiting.attempts, waiting.run_at) == (JobStatus.PENDING, 0, at(5))
    (again,) = await claim(store, seconds=5)
    assert (again.attempts, again.token) == (1, 2)


async def test_a_worker_rescues_its_own_claims_that_nobody_does_and_counts_no_attempt(store: Store) -> None:
    jobs, claims, mine = store.repositories.jobs, store.repositories.claims, await workspace(store)
    done = await jobs.add(job(mine))
    forgotten = await jobs.add(job(mine))
    await claim(store)
    assert await claims.rescue("two", (), LOST, now=at(1), told=told) == 0
    assert await claims.rescue("one", {done.id}, LOST, now=at(1), told=told) == 1
    assert [(one.id, one.attempts) for one in await claim(store, seconds=1)] == [(forgotten.id, 1)]


async def test_a_job_whose_last_attempt_was_lost_is_given_up_and_that_is_told(store: Store) -> None:
    jobs, claims, mine = store.repositories.jobs, store.repositories.claims, await workspace(store)
    made = await jobs.add(job(mine, max_retries=0))
    await claim(store)
    assert await claims.rescue("two", (), LOST, now=at(31), told=told) == 1
    dead = await jobs.find(mine, made.id)
    assert dead is not None
    assert (dead.status, dead.error, dead.is_dead, dead.finished_at) == (JobStatus.FAILED, LOST, True, at(31))
    facts = await store.repositories.outbox.claim(10, now=at(31), lease=LEASE)
    assert [(fact.id, fact.topic, fact.workspace_id) for fact in facts] == [(f"evt_{made.id}", "job.failed", mine)]


async def test_giving_a_job_up_is_told_in_the_same_transaction_and_a_retry_is_not(store: Store) -> None:
    jobs, claims, mine = store.repositories.jobs, store.repositories.claims, await workspace(store)
    made = await jobs.add(job(mine))
    (one,) = await claim(store)
    assert await claims.fail(made.id, one.token, BROKEN, now=at(1), retry_at=at(6), told=told)
    assert await store.repositories.outbox.claim(10, now=START, lease=LEASE) == ()
    assert await claim(store, seconds=5) == ()
    (two,) = await claim(store, seconds=6)
    assert await claims.fail(made.id, two.token, BROKEN, now=at(7), retry_at=None, told=told)
    assert await claims.fail(made.id, two.token, BROKEN, now=at(7), retry_at=None, told=told)
    assert len(await store.repositories.outbox.claim(10, now=at(7), lease=LEASE)) == 1


async def test_what_waits_can_be_cancelled_and_what_runs_only_by_force_which_ends_its_claim(store: Store) -> None:
    jobs, claims, mine = store.repositories.jobs, store.repositories.claims, await workspace(store)
    waiting = await jobs.add(job(mine, run_at=at(60)))
    running = await jobs.add(job(mine))
    (taken,) = await claim(store)
    audit = line()
    for _ in range(2):  # the second: the answer to the first was lost
        answer = await jobs.cancel(mine, waiting.id, audit, now=at(1))
        assert answer is not None
        assert (answer[0].status, answer[0].finished_at, answer[1]) == (JobStatus.CANCELLED, at(1), True)
    for job_id, force in ((waiting.id, False), (waiting.id, True), (running.id, False)):
        answer = await jobs.cancel(mine, job_id, line(), now=at(2), force=force)
        assert answer is not None
        assert answer[1] is False
    answer = await jobs.cancel(mine, running.id, line(), now=at(3), force=True)
    assert answer is not None
    assert (answer[0].status, answer[1]) == (JobStatus.CANCELLED, True)
    assert not await claims.complete(running.id, taken.token, None, now=at(4))
    assert not await claims.renew({running.id: taken.token}, at(99))
    assert len(await store.repositories.audit.of_user("nobody")) == 0
    assert await claim(store, seconds=99) == ()


async def test_finished_jobs_are_forgotten_and_unfinished_ones_never(store: Store) -> None:
    jobs, mine = store.repositories.jobs, await workspace(store)
    old = [await jobs.add(job(mine)) for _ in range(3)]
    kept = await jobs.add(job(mine))
    for number, one in enumerate(old):
        await jobs.cancel(mine, one.id, line(), now=at(number))
    assert await jobs.prune(at(2), limit=1) == 1
    assert await jobs.prune(at(2)) == 1
    assert await jobs.prune(at(2)) == 0
    assert {one.id for one in (await jobs.list(JobFilter(mine)))[0]} == {old[2].id, kept.id}
    await jobs.add(job(mine, internal=True))
    (internal,) = (one for one in await claim(store) if one.internal)
    await store.repositories.claims.complete(internal.id, internal.token, None, now=at(5))
    assert await jobs.prune(at(0), internal=at(5)) == 0
    assert await jobs.prune(at(0), internal=at(6)) == 1
