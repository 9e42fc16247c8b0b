"""The branch of the tree in which jobs are done."""

import random
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from understudy.actors.clock import utc_now
from understudy.actors.errors import NotFound
from understudy.actors.jobs.dispatcher import SWEEP_EVERY, dispatcher_spec
from understudy.actors.jobs.kinds import JobKind, Scheduled
from understudy.actors.jobs.messages import JOBS, KIND, RUNNING
from understudy.actors.jobs.ports import DueTimes, JobBook, JobClaims
from understudy.actors.jobs.queue import queue_spec
from understudy.actors.jobs.schedule import schedule_spec
from understudy.actors.jobs.services import CONCURRENCY, LEASE, JobServices
from understudy.runtime import ChildSpec, DynamicSpec, SupervisorSpec


class JobStores(Protocol):
    """The repositories that jobs need."""

    @property
    def jobs(self) -> JobBook:
        """The jobs of workspaces."""
        ...

    @property
    def claims(self) -> JobClaims:
        """The queue, from the worker's side."""
        ...

    @property
    def schedule(self) -> DueTimes:
        """Which due times were seen to."""
        ...


def jobs_spec(
    stores: JobStores,
    kinds: Collection[JobKind],
    scheduled: Sequence[Scheduled] = (),
    *,
    concurrency: int = CONCURRENCY,
    lease: float = LEASE,
    timezone: str = "UTC",
    now: Callable[[], datetime] = utc_now,
    rng: random.Random | None = None,
    sweep_every: float = SWEEP_EVERY,
) -> SupervisorSpec:
    """The supervisor ``jobs``: the actors of jobs being done, and the dispatcher, the queue and the schedule.

    In this order, so that at a stop nothing is begun any more when what runs is told to give its lease back. Raises
    ValueError when two kinds or two schedules have one name, or a schedule is of an unknown kind.
    """
    by_name = {kind.name: kind for kind in kinds}
    names = [each.name for each in scheduled]
    unknown = {each.kind for each in scheduled} - by_name.keys()
    if len(by_name) < len(kinds) or len(set(names)) < len(names) or unknown:
        raise ValueError(f"names of jobs and schedules are unique, and what is scheduled exists: {unknown or names}")
    services = JobServices(stores.claims, by_name, lease, now, rng or random.Random())  # noqa: S311  # jitter
    return SupervisorSpec(
        JOBS.partition("/")[0],
        children=(
            DynamicSpec(RUNNING.rpartition("/")[2], KIND, _only_by_the_dispatcher),
            dispatcher_spec(services, concurrency, min(sweep_every, max(0.5, lease / 2))),
            queue_spec(stores.jobs, by_name, now),
            schedule_spec(stores.schedule, scheduled, ZoneInfo(timezone), now),
        ),
    )


def _only_by_the_dispatcher(key: str) -> ChildSpec:
    del key
    raise NotFound("no actor does this job now")
