"""A stage for jobs: the real actors over the memory store, on a clock that jumps."""

import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import trio
from trio.lowlevel import ParkingLot

from understudy.actors.jobs.kinds import JobKind, JobRun
from understudy.actors.jobs.messages import JOBS, EnqueueJob, Job, JobStatus
from understudy.actors.jobs.noop import NOOP
from understudy.actors.jobs.tree import jobs_spec
from understudy.runtime import ActorSystem
from understudy.runtime.testing import open_system
from understudy.storage.memory import MemoryStore
from understudy.storage.records import User, Workspace

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
A_DAY = 86_400.0


class Bench:
    """A kind of job that does what the test says, and remembers who came."""

    def __init__(self) -> None:
        self.runs: list[JobRun] = []
        self.begun = ParkingLot()
        self.ended: list[str] = []
        self.running = self.most = 0
        self.go: dict[str, trio.Event] = {}
        self.do: Callable[[JobRun], Any] | None = None

    async def run(self, run: JobRun) -> Mapping[str, object] | None:
        self.runs.append(run)
        self.begun.unpark_all()
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.do is not None:
                result: Mapping[str, object] | None = await self.do(run)
                return result
            await self.go.setdefault(run.job.id, trio.Event()).wait()
            return {"attempt": run.attempt}
        finally:
            self.running -= 1
            self.ended.append(run.job.id)

    def finish(self, job: Job) -> None:
        """Let a waiting job come to its end."""
        self.go.setdefault(job.id, trio.Event()).set()


@attrs.define
class Stage:
    """The running actors and what they stand on."""

    system: ActorSystem
    store: MemoryStore
    bench: Bench
    workspace: str
    uid: str

    async def enqueue(self, type: str = "bench", **more: Any) -> Job:
        """Put a job of the workspace on the queue."""
        fields = {"uid": self.uid, "workspace_id": self.workspace, "type": type, "public": type != "secret", **more}
        return await self.system.ask(JOBS, EnqueueJob(**fields))

    def job(self, job: Job) -> Job:
        """As it is in the store now."""
        return self.store.tables.jobs[job.id]

    async def reaches(self, job: Job, status: JobStatus) -> Job:
        """Wait until the job has this status."""
        with trio.fail_after(A_DAY):
            while self.job(job).status is not status:
                await trio.sleep(1.0)
        return self.job(job)

    async def begun(self, count: int) -> None:
        """Wait until so many attempts have begun."""
        with trio.fail_after(A_DAY):
            while len(self.bench.runs) < count:
                await self.bench.begun.park()


def wall() -> datetime:
    """The wall clock, going with trio's."""
    return START + timedelta(seconds=trio.current_time())


async def people(store: MemoryStore, name: str = "mira") -> tuple[str, str]:
    """A user and their workspace."""
    user, workspace = (
        User(f"usr_{name}", f"{name}@x.org", "h", START),
        Workspace(f"ws_{name}", "W", f"usr_{name}", "personal", START),
    )
    await store.users.create(user, workspace)
    return user.id, workspace.id


@asynccontextmanager
async def staged(store: MemoryStore | None = None, bench: Bench | None = None, **options: Any) -> AsyncGenerator[Stage]:
    """A node with jobs; *options* are those of `jobs_spec`. Another one on the same *store* is another node."""
    fresh = store is None
    store, bench = store or MemoryStore(now=wall), bench or Bench()
    uid, workspace = await people(store) if fresh else ("usr_mira", "ws_mira")
    kinds = (JobKind("bench", bench.run, public=True), JobKind("secret", bench.run), NOOP)
    options = {"now": wall, "rng": random.Random(7), **options}
    with trio.fail_after(30 * A_DAY):
        async with open_system(leaks=False) as system:
            await system.spawn(jobs_spec(store, kinds, **options))
            yield Stage(system, store, bench, workspace, uid)
