"""The actor that takes jobs from the queue and gives each to an actor of its own."""

import logging
from collections.abc import Mapping
from typing import ClassVar

import attrs

from understudy.actors.jobs.ending import LOST, Failed, record, told
from understudy.actors.jobs.messages import DISPATCHER, KIND, RUNNING, LookForJobs, job_address
from understudy.actors.jobs.runner import runner_spec
from understudy.actors.jobs.services import CONCURRENCY, PER_WORKSPACE, JobServices
from understudy.runtime import Actor, ChildSpec, Crashed, Down, Normal, Overflow, Refusal, RuntimeFault, Timer, receive
from understudy.storage.errors import StoreUnavailable
from understudy.storage.job import Job, JobError

SWEEP_EVERY = 5.0
"""Seconds between two looks when nobody says that there is something: for the jobs of other nodes, and lost ones."""

log = logging.getLogger(__name__)


@attrs.frozen
class _Sweep:
    """Time to look after jobs that nobody does any more, too."""


class Dispatcher(Actor):
    """Does as many jobs at a time as this node may.

    It looks for more when it is told of one, when one ends, and when the next is due. It can die at any time: jobs that
    are being done go on, and its next incarnation finds them. A claim that had come to nothing by then is given back.
    """

    kind: ClassVar[str | None] = "dispatcher"
    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST  # one hint says as much as a thousand

    def __init__(self, services: JobServices, concurrency: int = CONCURRENCY, every: float = SWEEP_EVERY) -> None:
        self._services = services
        self._concurrency = concurrency
        self._every = every
        self._running: dict[str, Job | None] = {}
        self._again = self._sweeping = self._looking = False
        self._alarm: Timer | None = None
        self._counts = {"begun": 0, "rescued": 0, "crashed": 0}

    async def started(self) -> None:
        """Find the jobs that are being done already, and look for more."""
        for address in self.system.addresses(KIND):
            self._running[address.removeprefix(f"{KIND}/")] = None
            self.monitor(address)
        self.every(self._every, _Sweep())
        self.sweep(_Sweep())

    @receive
    def look(self, message: LookForJobs) -> None:
        """Look whether there is something to do, unless that is going on: then once more after it."""
        del message
        self._again = True
        if not self._looking:
            self._looking = True
            self.work(self._look, name="look")

    @receive
    def sweep(self, message: _Sweep) -> None:
        """Look, and first see to what was lost."""
        del message
        self._sweeping = True
        self.look(LookForJobs())

    @receive
    def down(self, message: Down) -> None:
        """A job's actor has ended. Usually it has written how; when it crashed, that is done for it."""
        job_id = message.address.removeprefix(f"{KIND}/")
        job = self._running.get(job_id)
        if isinstance(message.exit, Crashed) and job is not None:
            self._counts["crashed"] += 1
            self.work(self._crashed, job, message.exit.error, name="crashed")
        else:
            self._running.pop(job_id, None)
            self._sweeping |= not isinstance(message.exit, Normal)  # what it left behind is ours to give back
            self.look(LookForJobs())

    def snapshot(self) -> Mapping[str, object]:
        """What is being done, and how much there was."""
        return {
            "worker": self._services.worker,
            "concurrency": self._concurrency,
            "per_workspace": PER_WORKSPACE,
            "running": sorted(self._running),
            **self._counts,
        }

    async def _look(self) -> None:
        try:
            while self._again:
                self._again = False
                if self._sweeping:
                    self._sweeping = False
                    await self._rescue()
                await self._claim()
                await self._wait_for_the_next()
        except StoreUnavailable:
            self._sweeping = True  # the next beat looks again
        finally:
            self._looking = False

    async def _claim(self) -> None:
        services = self._services
        room = self._concurrency - len(self._running)
        if room <= 0:
            return
        for job in await services.claims.claim(
            services.worker, limit=room, per_workspace=PER_WORKSPACE, now=services.now(), lease=services.lease
        ):
            self._running[job.id] = job
            try:
                await self.system.spawn(runner_spec(job, services), under=RUNNING)
            except (RuntimeFault, Refusal) as error:
                log.warning("job %s (%s) could not begin: %s", job.id, job.type, error)
                del self._running[job.id]
                await services.claims.release(job.id, job.token, now=services.now())
            else:
                self._counts["begun"] += 1
                self.monitor(job_address(job.id))

    async def _rescue(self) -> None:
        services = self._services
        self._counts["rescued"] += await services.claims.rescue(
            services.worker, tuple(self._running), LOST, now=services.now(), told=told
        )

    async def _wait_for_the_next(self) -> None:
        """Have ourselves told when the next job is due, if that is before we look anyway."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        now = self._services.now()
        due = await self._services.claims.next_due(now)
        if due is not None and (seconds := (due - now).total_seconds()) < self._every:
            self._alarm = self.after(max(0.0, seconds), LookForJobs())

    async def _crashed(self, job: Job, error: BaseException) -> None:
        what = JobError("CRASHED", f"the actor that did it crashed: {type(error).__name__}", retryable=True)
        try:
            await record(self._services, job, Failed(what))
        except StoreUnavailable:
            return  # it is found among the lost ones
        finally:
            # Only now: among the lost ones it would be given back as if it had not been begun, and crash for ever.
            self._running.pop(job.id, None)
        self.look(LookForJobs())


def dispatcher_spec(services: JobServices, concurrency: int, every: float = SWEEP_EVERY) -> ChildSpec:
    """The child at `DISPATCHER`."""
    return ChildSpec(DISPATCHER.rpartition("/")[2], Dispatcher, args=(services, concurrency, every))
