"""The jobs of every node: what types there are, and what comes by itself when."""

from typing import Protocol

import attrs

from understudy.actors.autonomous.jobs import autonomous_job_kinds
from understudy.actors.costs.jobs import COST_SCHEDULE, Snapshots, cost_job_kinds
from understudy.actors.heartbeats.jobs import heartbeat_job_kinds
from understudy.actors.jobs.agentrun import agent_run
from understudy.actors.jobs.chores import ChoreStores, chores
from understudy.actors.jobs.kinds import JobKind, Scheduled
from understudy.actors.jobs.noop import NOOP
from understudy.actors.session.jobs import SESSION_SCHEDULE, Retention, session_job_kinds
from understudy.actors.webhooks.jobs import webhook_job_kinds
from understudy.runtime import ActorSystem


class StandardStores(ChoreStores, Protocol):
    """The repositories that the standard jobs work on."""

    @property
    def snapshots(self) -> Snapshots:
        """Daily costs."""
        ...

    @property
    def retention(self) -> Retention:
        """Sessions that a workspace does not want any more."""
        ...


@attrs.frozen
class JobPlan:
    """Types of jobs, and which of them are due when. Names are unique in each."""

    kinds: tuple[JobKind, ...]
    scheduled: tuple[Scheduled, ...] = ()


def standard_jobs(system: ActorSystem, stores: StandardStores) -> JobPlan:
    """All of them; each noun offers its own."""
    nightly = chores(stores)
    return JobPlan(
        (
            NOOP,
            agent_run(system),
            *autonomous_job_kinds(system),
            *heartbeat_job_kinds(system),
            *webhook_job_kinds(system),
            *cost_job_kinds(stores.snapshots),
            *session_job_kinds(system, stores.retention),
            *(chore.kind() for chore in nightly),
        ),
        (*COST_SCHEDULE, *SESSION_SCHEDULE, *(chore.scheduled() for chore in nightly)),
    )
