"""The nightly job of the bill: each day's costs, added up once the day is over."""

from datetime import date, datetime, time, timedelta
from typing import Protocol

from understudy.actors.jobs.kinds import JobKind, JobResult, JobRun, Scheduled
from understudy.actors.jobs.payloads import Fields, fits, read

RETAKEN = timedelta(days=2)
"""Days before yesterday that are added up again: what a turn cost is billed at its end, which may be after midnight."""

MOST_DAYS = timedelta(days=366)
"""How far back a first snapshot goes, or one after a long pause."""


class Snapshots(Protocol):
    """Daily costs; each may raise `StoreUnavailable`."""

    async def take(self, first: date, last: date, *, now: datetime, workspace_id: str | None = None) -> int:
        """Add up these days, both inclusive, of one workspace or of all; how many rows it makes."""
        ...

    async def latest(self) -> date | None:
        """The last day of which anything was added up."""
        ...


class CostSnapshot(Fields, frozen=True):
    """Which day (UTC); without one, all up to yesterday that are not added up yet."""

    day: date | None = None


def cost_job_kinds(store: Snapshots) -> tuple[JobKind, ...]:
    """The type ``cost.snapshot``: of the job's workspace, or of all when it is the node's own."""

    async def snapshot(run: JobRun) -> JobResult:
        now, asked = run.now(), read(CostSnapshot, run.job.payload)
        first = last = asked.day
        if first is None or last is None:
            last = now.date() - timedelta(days=1)
            latest = await store.latest()
            first = last - MOST_DAYS if latest is None else max(min(latest, last) - RETAKEN, last - MOST_DAYS)
        taken = await store.take(first, last, now=now, workspace_id=run.job.workspace_id)
        return {"from": first.isoformat(), "to": last.isoformat(), "rows": taken}

    return (JobKind("cost.snapshot", snapshot, fits(CostSnapshot), public=True),)


COST_SCHEDULE = (Scheduled("cost.snapshot", "cost.snapshot", at=time(1, 0)),)
