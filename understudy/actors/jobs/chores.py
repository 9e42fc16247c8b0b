"""The node's own nightly jobs: throwing away what is too old to matter."""

from collections.abc import Awaitable, Callable
from datetime import datetime, time, timedelta
from typing import Protocol

import attrs

from understudy.actors.jobs.kinds import JobKind, JobResult, JobRun, Scheduled

JOBS_KEPT = timedelta(days=30)
"""How long it can be read what became of a job."""

INTERNAL_KEPT = timedelta(days=1)
"""... of one that nobody asked for."""

FAILURES_KEPT = timedelta(days=1)
"""Well past the longest lock and the window after it: a failed sign-in this old counts for nothing any more."""


class Tokens(Protocol):
    """Refresh tokens."""

    async def sweep(self, *, now: datetime) -> int:
        """Delete the expired; how many."""
        ...


class Lockouts(Protocol):
    """Failed sign-ins."""

    async def sweep(self, *, before: datetime) -> int:
        """Forget subjects that last failed before then and are not locked; how many."""
        ...


class Grants(Protocol):
    """Agents that other workspaces may run."""

    async def purge_expired(self, *, before: datetime) -> int:
        """Delete those that expired before then; how many."""
        ...


class Finished(Protocol):
    """Jobs that are over: too many to be deleted in one go."""

    async def prune(self, before: datetime, *, internal: datetime | None = ...) -> int:
        """Delete some that are older, *internal* being another age for internal ones; how many."""
        ...


class ChoreStores(Protocol):
    """The repositories in which there is something to throw away."""

    @property
    def tokens(self) -> Tokens:
        """Refresh tokens."""
        ...

    @property
    def lockouts(self) -> Lockouts:
        """Failed sign-ins."""
        ...

    @property
    def grants(self) -> Grants:
        """Grants of agents."""
        ...

    @property
    def jobs(self) -> Finished:
        """Finished jobs."""
        ...


@attrs.frozen
class Chore:
    """Something that is thrown away daily. ``sweep`` returns how much it was; ``batched``, it goes on until none."""

    name: str
    at: time
    sweep: Callable[[datetime], Awaitable[int]]
    batched: bool = False

    def kind(self) -> JobKind:
        """The type of its jobs: no user may ask for them."""

        async def run(attempt: JobRun) -> JobResult:
            deleted = total = await self.sweep(attempt.now())
            while deleted and self.batched:
                deleted = await self.sweep(attempt.now())
                total += deleted
            return {"deleted": total}

        return JobKind(self.name, run)

    def scheduled(self) -> Scheduled:
        """When they are due."""
        return Scheduled(self.name, self.name, at=self.at)


def chores(stores: ChoreStores) -> tuple[Chore, ...]:
    """All of them; what one noun alone knows of, its own actors see to."""
    return (
        Chore("tokens.sweep", time(3, 0), lambda now: stores.tokens.sweep(now=now)),
        Chore("lockouts.sweep", time(3, 15), lambda now: stores.lockouts.sweep(before=now - FAILURES_KEPT)),
        Chore("grants.purge", time(3, 20), lambda now: stores.grants.purge_expired(before=now)),
        Chore("jobs.prune", time(3, 30), _prune_jobs(stores), batched=True),
    )


def _prune_jobs(stores: ChoreStores) -> Callable[[datetime], Awaitable[int]]:
    return lambda now: stores.jobs.prune(now - JOBS_KEPT, internal=now - INTERNAL_KEPT)
