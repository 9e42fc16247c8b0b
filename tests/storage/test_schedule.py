"""Each due time becomes one job; each day's bill is added up once."""

from datetime import date, timedelta

import trio

from tests.support.storage import START, Store, at, closed, opened
from understudy.storage.job import Job
from understudy.storage.records import Usage, new_id
from understudy.storage.spending import Charge, DailyCost

DAY = START.date()


def job() -> Job:
    return Job(new_id("job"), "noop", {}, START, START)


async def test_of_any_number_of_nodes_one_puts_the_job_of_a_due_time_on_the_queue(store: Store) -> None:
    won: list[bool] = []

    async def node() -> None:
        won.append(await store.repositories.schedule.enqueue("nightly", START, job()))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(node)
    assert sorted(won) == [False] * 5 + [True]
    taken = await store.repositories.claims.claim("w", limit=9, per_workspace=2, now=START, lease=timedelta(seconds=9))
    assert len(taken) == 1


async def test_a_due_time_that_is_past_or_was_seen_to_makes_no_job(store: Store) -> None:
    schedule = store.repositories.schedule
    await schedule.begin("nightly", at(100))
    await schedule.begin("nightly", at(0))
    assert await schedule.seen() == {"nightly": at(100)}
    assert not await schedule.enqueue("nightly", at(99), job())
    assert not await schedule.enqueue("nightly", at(100), job())
    late = job()
    assert await schedule.enqueue("nightly", at(101), late)
    assert await schedule.enqueue("nightly", at(101), late)  # the answer to the first was lost
    assert await schedule.enqueue("hourly", at(0), job())
    assert await schedule.seen() == {"nightly": at(101), "hourly": at(0)}


async def test_a_days_bill_is_added_up_by_agent_and_model_however_often_that_is_done(store: Store) -> None:
    session, other = await store.session(), await store.session()
    for owner, *charges in (
        (
            session,
            Charge("claude", "opus", Usage(100, 20), at(1), 7, saved=3),
            Charge("x", "y", Usage(8, 2), at(2), None),
        ),
        (session, Charge("claude", "opus", Usage(10, 2), at(3), 5), Charge("x", "y", Usage(1, 1), at(86_400), 1)),
        (other, Charge("claude", "opus", Usage(1, 1), at(4), 1)),
    ):
        begin = opened(owner)
        await store.write(begin)
        await store.write(closed(owner, begin.turn_id, charges=tuple(charges)))
    snapshots, mine = store.repositories.snapshots, session.key.workspace_id
    assert await snapshots.latest() is None
    assert await snapshots.take(DAY, DAY, now=START, workspace_id=mine) == 2
    assert await snapshots.days(other.key.workspace_id, DAY, DAY) == ()
    assert await snapshots.take(DAY - timedelta(days=3), DAY + timedelta(days=1), now=START) == 4
    assert await snapshots.take(DAY, DAY, now=START) == 3
    assert await snapshots.latest() == DAY + timedelta(days=1)
    opus = DailyCost(DAY, mine, "chad", "claude", "opus", 2, Usage(110, 22), 12, 3, 0)
    unknown = DailyCost(DAY, mine, "chad", "x", "y", 1, Usage(8, 2), 0, 0, 10)
    assert await snapshots.days(mine, DAY, DAY) == (opus, unknown)
    assert len(await snapshots.days(mine, DAY, date.max)) == 3
