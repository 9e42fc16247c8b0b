"""The types of jobs that every node has."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import attrs
import pytest
import trio

from tests.support.storage import START, Store, closed, opened
from understudy.actors.costs.jobs import COST_SCHEDULE, cost_job_kinds
from understudy.actors.jobs.attempt import attempt
from understudy.actors.jobs.chores import chores
from understudy.actors.jobs.ending import Done, Ending, Failed
from understudy.actors.jobs.kinds import JobKind, JobRun
from understudy.actors.jobs.noop import NOOP
from understudy.actors.jobs.payloads import Fields, fits
from understudy.actors.jobs.services import JobServices
from understudy.actors.jobs.standard import standard_jobs
from understudy.actors.jobs.tree import jobs_spec
from understudy.actors.session.jobs import session_job_kinds
from understudy.actors.session.messages import DIRECTORY, Left
from understudy.runtime import ActorSystem, ChildSpec, SupervisorSpec
from understudy.runtime.testing import Inbox, Probe
from understudy.storage.job import Job
from understudy.storage.memory import MemoryStore
from understudy.storage.records import Usage, new_id
from understudy.storage.spending import Charge

NIGHT = START + timedelta(days=1)


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore(now=lambda: START)


async def done(
    kind: JobKind, payload: dict[str, Any] | None = None, workspace: str | None = None, now: datetime = NIGHT
) -> Ending:
    """What one attempt comes to, the day after `START` unless said."""
    job = Job(new_id("job"), kind.name, payload or {}, NIGHT, NIGHT, workspace, attempts=1)
    memory = MemoryStore()
    services = JobServices(memory.claims, {kind.name: kind}, now=lambda: now, rng=random.Random(1))
    with trio.fail_after(30):
        return await attempt(services, job)


async def spend(memory: MemoryStore, at: datetime) -> str:
    """A charge at that time; the workspace that it is of."""
    store: Any = Store(memory, memory.journal)  # type: ignore[arg-type]  # as the storage suite has it
    session = await store.session()
    begin = opened(session)
    await store.write(begin)
    await store.write(closed(session, begin.turn_id, charges=(Charge("claude", "opus", Usage(3, 1), at, 7),)))
    return str(session.key.workspace_id)


async def test_the_nightly_snapshot_takes_what_is_over_and_not_taken_yet(memory: MemoryStore) -> None:
    (kind,) = cost_job_kinds(memory.snapshots)
    assert [each.kind for each in COST_SCHEDULE] == [kind.name]
    long_ago, lately = await spend(memory, NIGHT - timedelta(days=300)), await spend(memory, NIGHT - timedelta(days=1))
    today = await spend(memory, NIGHT)
    yesterday = (NIGHT - timedelta(days=1)).date()
    assert await done(kind) == Done({"from": "2025-11-20", "to": yesterday.isoformat(), "rows": 2})
    for workspace, count in ((long_ago, 1), (lately, 1), (today, 0)):
        assert len(await memory.snapshots.days(workspace, date.min, date.max)) == count
    again = await done(kind)
    assert again == Done({"from": (yesterday - timedelta(days=2)).isoformat(), "to": yesterday.isoformat(), "rows": 1})
    asked = {"day": NIGHT.date().isoformat()}
    for whose, rows in ((lately, 0), (today, 1), (None, 1)):
        assert await done(kind, asked, whose) == Done({"from": asked["day"], "to": asked["day"], "rows": rows})


async def test_conversations_that_are_not_to_be_kept_go_and_the_directory_is_told(memory: MemoryStore) -> None:
    workspace = memory.tables.workspaces[await spend(memory, START)]
    wish = attrs.evolve(workspace, settings={"retentionDays": 1})
    (session,) = memory.tables.sessions.values()
    async with ActorSystem("retention") as system:
        directory = ChildSpec(DIRECTORY.rpartition("/")[2], Probe, args=(inbox := Inbox(),))
        await system.spawn(SupervisorSpec(DIRECTORY.partition("/")[0], children=(directory,)))
        (kind,) = session_job_kinds(system, memory.retention)
        assert await done(kind, now=START + timedelta(days=9)) == Done({"deleted": 0})
        memory.tables.workspaces[workspace.id] = wish
        assert await done(kind, now=START + timedelta(hours=23)) == Done({"deleted": 0})
        assert await done(kind, now=START + timedelta(hours=25)) == Done({"deleted": 1})
        assert await inbox.next(Left) == Left(session.key, session.id)


async def test_every_chore_is_the_nodes_own_and_says_how_much_it_threw_away(memory: MemoryStore) -> None:
    for chore in chores(memory):
        kind = chore.kind()
        assert not kind.public
        assert chore.scheduled().kind == kind.name
        assert await done(kind) == Done({"deleted": 0})


async def test_the_standard_jobs_fit_together(memory: MemoryStore) -> None:
    async with ActorSystem("standard") as system:
        plan = standard_jobs(system, memory)
        jobs_spec(memory, plan.kinds, plan.scheduled)
        assert {"agent.run", "cost.snapshot", "noop"} <= {kind.name for kind in plan.kinds if kind.public}


async def test_finished_jobs_are_thrown_away_after_a_month_in_batches(memory: MemoryStore) -> None:
    prune = next(chore.kind() for chore in chores(memory) if chore.name == "jobs.prune")
    for number in range(2500):
        old = Job(f"job_{number}", "noop", {}, START, START, finished_at=NIGHT - timedelta(days=31))
        memory.tables.jobs[old.id] = old
    kept = Job("job_kept", "noop", {}, START, START, finished_at=NIGHT - timedelta(days=29))
    memory.tables.jobs[kept.id] = kept
    assert await done(prune) == Done({"deleted": 2500})
    assert list(memory.tables.jobs) == ["job_kept"]


async def test_a_payload_of_another_version_is_a_failure_that_is_final() -> None:
    ending = await done(NOOP, {"sleepMs": "long"})
    assert isinstance(ending, Failed)
    assert (ending.error.code, ending.error.retryable) == ("VALIDATION", False)


async def test_a_job_is_given_what_it_needs_to_know() -> None:
    seen: list[JobRun] = []

    async def look(run: JobRun) -> None:
        seen.append(run)

    await done(JobKind("look", look))
    (run,) = seen
    assert (run.attempt, run.key, run.now()) == (1, run.job.id, NIGHT)
    assert NIGHT.tzinfo is UTC


class Shape(Fields, frozen=True):
    """Something with a required field."""

    first_name: str
    inner: list[int] = []  # noqa: RUF012  # msgspec copies it


@pytest.mark.parametrize(
    ("payload", "path", "issue"),
    [
        ({}, "firstName", "missing"),
        ({"firstName": 1}, "firstName", "wrong_type"),
        ({"firstName": "m", "other": 1}, "other", "unknown_field"),
        ({"firstName": "m", "inner": [1, "x"]}, "inner[1]", "wrong_type"),
    ],
)
def test_what_is_wrong_with_a_payload_is_said_at_its_field(payload: dict[str, Any], path: str, issue: str) -> None:
    (detail,) = fits(Shape)(payload)
    assert (detail.path, detail.issue) == (path, issue)
    assert fits(Shape)({"firstName": "m", "inner": [1]}) == ()
