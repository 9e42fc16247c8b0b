"""The nightly job of sessions: forgetting what a workspace does not want to be kept."""

from collections.abc import Sequence
from datetime import datetime, time
from typing import Protocol

from understudy.actors.jobs.kinds import JobKind, JobResult, JobRun, Scheduled
from understudy.actors.session.messages import DIRECTORY, Left
from understudy.runtime import ActorSystem
from understudy.storage.records import SessionKey


class Retention(Protocol):
    """Sessions, as their workspace limits their life."""

    async def purge(self, now: datetime) -> Sequence[tuple[str, SessionKey]]:
        """Delete some of those that have been quiet for longer; which. Raises `StoreUnavailable`."""
        ...


def session_job_kinds(system: ActorSystem, store: Retention) -> tuple[JobKind, ...]:
    """The type ``sessions.retention``: for workspaces whose settings say ``retentionDays``."""

    async def purge(run: JobRun) -> JobResult:
        deleted = 0
        while gone := await store.purge(run.now()):
            deleted += len(gone)
            for session_id, key in gone:
                system.tell(DIRECTORY, Left(key, session_id))
        return {"deleted": deleted}

    return (JobKind("sessions.retention", purge),)


SESSION_SCHEDULE = (Scheduled("sessions.retention", "sessions.retention", at=time(2, 30)),)
