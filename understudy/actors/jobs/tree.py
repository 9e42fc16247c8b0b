"""The branch of the tree in which jobs are done."""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
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
    for twice in _repeated(kind.name for kind in kinds):
        raise ValueError(f"there are two kinds of jobs named {twice}")
    for twice in _repeated(each.name for each in scheduled):
        raise ValueError(f"two things in the schedule are named {twice}")
    for unknown in {each.kind for each in scheduled} - by_name.keys():
        raise ValueError(f"the schedule has jobs of type {unknown}, and there are none")
    rng = rng or random.Random()  # noqa: S311  # jitter
    services = JobServices(stores.claims, by_name, timedelta(seconds=lease), now, rng)
    return SupervisorSpec(
        JOBS.partition("/")[0],
        children=(
            DynamicSpec(RUNNING.rpartition("/")[2], KIND, _only_by_the_dispatcher),
            dispatcher_spec(services, concurrency, min(sweep_every, max(0.5, lease / 2))),
            queue_spec(stores.jobs, by_name, now),
            schedule_spec(stores.schedule, scheduled, ZoneInfo(timezone), now),
        ),
    )


def _repeated(names: Iterable[str]) -> Iterator[str]:
    return (name for name, count in Counter(names).items() if count > 1)


def _only_by_the_dispatcher(key: str) -> ChildSpec:
    del key
    raise NotFound("no actor does this job now")
