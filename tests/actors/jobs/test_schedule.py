"""Each due time becomes one job, whatever happens to nodes and clocks."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.actors.jobs.stage import staged, wall
from understudy.actors.jobs.duetimes import last_due, next_due
from understudy.actors.jobs.kinds import Scheduled
from understudy.actors.jobs.messages import SCHEDULE, JobStatus
from understudy.actors.jobs.noop import NOOP
from understudy.actors.jobs.tree import jobs_spec
from understudy.storage.memory import MemoryStore

VIENNA = ZoneInfo("Europe/Vienna")
HALF_PAST_TWO = Scheduled("nightly", "noop", at=time(2, 30))
MONDAYS = Scheduled("weekly", "noop", at=time(4, 30), weekday=0)
OFTEN = Scheduled("often", "noop", every=timedelta(minutes=30))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("scheduled", "now", "last", "following"),
    [
        (HALF_PAST_TWO, "2026-03-01T01:29:59", "2026-02-28T01:30", "2026-03-01T01:30"),
        (HALF_PAST_TWO, "2026-03-01T01:30:00", "2026-03-01T01:30", "2026-03-02T01:30"),
        # There is no half past two on the day on which clocks go forward: it is half past three then.
        (HALF_PAST_TWO, "2026-03-29T12:00:00", "2026-03-29T01:30", "2026-03-30T00:30"),
        # There are two of them on the day on which they go back: the first is meant.
        (HALF_PAST_TWO, "2026-10-25T00:29:59", "2026-10-24T00:30", "2026-10-25T00:30"),
        (HALF_PAST_TWO, "2026-10-25T01:30:00", "2026-10-25T00:30", "2026-10-26T01:30"),
        (MONDAYS, "2026-03-01T12:00:00", "2026-02-23T03:30", "2026-03-02T03:30"),
        (MONDAYS, "2026-03-02T03:30:00", "2026-03-02T03:30", "2026-03-09T03:30"),
        (OFTEN, "2026-03-01T08:31:10", "2026-03-01T08:30", "2026-03-01T09:00"),
    ],
)
def test_times_of_day_are_those_of_the_zone(scheduled: Scheduled, now: str, last: str, following: str) -> None:
    assert last_due(scheduled, utc(now), VIENNA) == utc(last)
    assert next_due(scheduled, utc(now), VIENNA) == utc(following)


@given(
    st.datetimes(utc("2000-01-01").replace(tzinfo=None), utc("2100-01-01").replace(tzinfo=None)),
    st.builds(Scheduled, st.just("x"), st.just("noop"), at=st.times(), weekday=st.none() | st.integers(0, 6)),
    st.sampled_from(["UTC", "Europe/Vienna", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe"]),
)
def test_the_next_due_time_becomes_the_last_one_and_nothing_is_between(
    now: datetime, scheduled: Scheduled, zone: str
) -> None:
    moment, where = now.replace(tzinfo=UTC), ZoneInfo(zone)
    last, following = last_due(scheduled, moment, where), next_due(scheduled, moment, where)
    assert last <= moment < following
    assert last_due(scheduled, following, where) == following
    assert next_due(scheduled, last, where) == following
    assert last_due(scheduled, following - timedelta(microseconds=1), where) == last


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"at": time(1), "every": timedelta(hours=1)},
        {"every": timedelta()},
        {"every": timedelta(hours=1), "weekday": 1},
        {"at": time(1), "weekday": 7},
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_at_once(odd: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="x: "):
        Scheduled("x", "noop", **odd)  # type: ignore[arg-type]


def test_names_are_unique_and_kinds_exist() -> None:
    store = MemoryStore()
    for kinds, scheduled, said in (
        ((NOOP, NOOP), (), "two kinds of jobs named noop"),
        ((NOOP,), (OFTEN, OFTEN), "named often"),
        ((), (OFTEN,), "jobs of type noop, and there are none"),
    ):
        with pytest.raises(ValueError, match=said):
            jobs_spec(store, kinds, scheduled)


async def test_what_is_due_is_done_and_what_is_new_waits_for_its_first_time(autojump_clock: MockClock) -> None:
    async with staged(scheduled=(HALF_PAST_TWO, OFTEN), sweep_every=3600.0) as stage:
        await trio.sleep(60)
        assert stage.store.tables.jobs == {}
        await trio.sleep(24 * 3600)
        jobs = sorted(stage.store.tables.jobs.values(), key=lambda job: job.created_at)
        assert len(jobs) == 1 + 48
        assert {(job.status, job.workspace_id, job.uid) for job in jobs} == {(JobStatus.COMPLETED, None, None)}
        assert len({job.dedupe_key for job in jobs}) == len(jobs)
        (nightly,) = (job for job in jobs if job.dedupe_key == "nightly:2026-03-02T02:30:00+00:00")
        assert timedelta() <= nightly.created_at - utc("2026-03-02T02:30") < timedelta(seconds=1)
        assert (await stage.system.inspect(SCHEDULE))["nightly"] == {
            "kind": "noop",
            "last": "2026-03-02T02:30:00Z",
            "next": "2026-03-03T02:30:00Z",
        }


async def test_several_nodes_do_it_once_and_a_killed_schedule_forgets_nothing(autojump_clock: MockClock) -> None:
    often: dict[str, Any] = {"scheduled": (OFTEN,), "sweep_every": 3600.0}
    async with staged(**often) as stage, staged(stage.store, stage.bench, **often) as other:
        for _ in range(10):
            await trio.sleep(17 * 60)
            await stage.system.kill(SCHEDULE)
            await trio.sleep(13 * 60)
            await other.system.kill(SCHEDULE)
        await trio.sleep(60)
        assert len(stage.store.tables.jobs) == 10


async def test_what_was_missed_is_made_up_for_once(autojump_clock: MockClock) -> None:
    async with staged(scheduled=(OFTEN,)) as stage:
        store, bench = stage.store, stage.bench
        await trio.sleep(60)
    await trio.sleep(5 * 3600)
    async with staged(store, bench, scheduled=(OFTEN,)):
        await trio.sleep(1)
        (job,) = store.tables.jobs.values()
        assert job.dedupe_key == "often:2026-03-01T13:00:00+00:00"
        assert job.created_at < wall()


async def test_while_the_database_is_away_the_schedule_waits_for_it(autojump_clock: MockClock) -> None:
    async with staged(scheduled=(OFTEN,)) as stage:
        await trio.sleep(60)
        stage.store.tables.available = False
        await trio.sleep(3600)
        stage.store.tables.available = True
        await trio.sleep(60)
        assert len(stage.store.tables.jobs) == 1


async def test_a_job_of_the_schedule_is_tried_again_like_any_other(autojump_clock: MockClock) -> None:
    failing = Scheduled("flaky", "noop", every=timedelta(hours=1), payload={"fail": 2})
    async with staged(scheduled=(failing,)) as stage:
        await trio.sleep(2 * 3600)
        job = min(stage.store.tables.jobs.values(), key=lambda job: job.created_at)
        assert (job.status, job.attempts) == (JobStatus.COMPLETED, 3)
