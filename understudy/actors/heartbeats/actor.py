"""One heartbeat: waits for its due time, and runs it."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

import trio

from understudy.actors.clock import written
from understudy.actors.heartbeats.messages import Look, Retire
from understudy.actors.heartbeats.run import Run
from understudy.actors.heartbeats.schedule import Leave, Take, TakeOver, Wait, following, plan
from understudy.actors.heartbeats.services import LEASE, HeartbeatServices
from understudy.runtime import Actor, Exit, Raised, Returned, Timer, WorkDone, receive
from understudy.storage.errors import StoreUnavailable
from understudy.storage.heartbeat_records import Claim, Heartbeat, HeartbeatRun, RunStatus
from understudy.storage.records import new_id

TRY_AGAIN = 5.0
"""Seconds until the next look when the database is away."""

LOOK_AGAIN = 60.0
"""Seconds after which a run that goes on sees whether the next due time is another by now."""


class HeartbeatActor(Actor):
    """Does what the database says there is to do for one heartbeat, and sleeps until there is more.

    It holds nothing but a timer. Killed at any moment it loses nothing: the next one reads the same rows, and a run
    that its predecessor had begun is taken over. It stops when nothing is due for a while; the directory starts it
    again in time.
    """

    def __init__(self, heartbeat_id: str, services: HeartbeatServices) -> None:
        self._id = heartbeat_id
        self._services = services
        self._timer: Timer | None = None
        self._looking = self._again = self._retired = False
        self._quiet = trio.Event()
        self._next: datetime | None = None
        self._running: HeartbeatRun | None = None

    async def started(self) -> None:
        """Look at once."""
        self.look(Look())

    async def stopping(self, reason: Exit) -> None:
        """Let a run come to its end, within the shutdown's bound, unless the heartbeat was deleted."""
        del reason
        if self._running is not None and not self._retired:
            await self._quiet.wait()

    @receive
    def look(self, message: Look) -> None:
        """See what there is to do; while that is going on, once more after it."""
        self._again = True
        if not self._looking:
            self._looking, self._again = True, False
            if self._timer is not None:
                self._timer.cancel()
            self.work(self._do, name="look", tag=message)

    @receive
    def retire(self, message: Retire) -> None:
        """It was deleted."""
        del message
        self._retired = True
        self.stop()

    @receive
    def looked(self, message: WorkDone) -> None:
        """Sleep until there is more to do; stop when that is far off."""
        self._looking = False
        match message.outcome:
            case Raised(error):
                raise error
            case Returned(value=float(seconds)):
                self._timer = self.after(seconds, Look())
            case _:
                if not self._again:
                    self.stop()
        if self._again:
            self.look(Look())

    def snapshot(self) -> Mapping[str, object]:
        """What it does, or when it will next."""
        return {
            "next": written(self._next) if self._next is not None else None,
            "run": self._running.id if self._running is not None else None,
        }

    async def _do(self) -> float | None:
        """Do all there is to do now. Seconds until there is more, None when nobody has to wait for it."""
        try:
            while True:
                # A place first, and the claim only then: nothing is held that cannot be begun.
                async with self._services.slots:
                    step = await self._step()
                if step is not None:
                    break
        except StoreUnavailable:
            return TRY_AGAIN
        match step:
            case Wait(until):
                self._next = until
                return max(0.0, (until - self._services.now()).total_seconds())
            case Leave():
                return None

    async def _step(self) -> Wait | Leave | None:
        """One thing that is to be done, done; or what there is to wait for."""
        found = await self._services.runs.load(self._id)
        if found is None:
            return Leave()
        heartbeat, running = found
        self.labels = {"workspace": heartbeat.workspace_id, "uid": heartbeat.uid}
        now = self._services.now()
        match plan(heartbeat, running, now=now, owner=self._services.owner):
            case TakeOver(left):
                run = await self._services.runs.take_over(
                    left, owner=self._services.owner, now=now, lease_until=now + LEASE
                )
            case Take(due_at, after):
                run = await self._claim(due_at, after, now)
            case Wait() | Leave() as idle:
                return idle
        if run is not None and run.status is RunStatus.RUNNING:
            await self._conduct(heartbeat, run)
        return None

    async def _conduct(self, heartbeat: Heartbeat, run: HeartbeatRun) -> None:
        self._running, self._quiet = run, trio.Event()
        self.status = "running"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pass_over)
                done = await Run(self.system, self._services, heartbeat, run).conduct()
                nursery.cancel_scope.cancel()
        finally:
            self._running = None
            self._quiet.set()
            self.status = None
        if not done:
            raise StoreUnavailable

    async def _pass_over(self) -> None:
        """While a run goes on, claim the due times that come: storage skips them. Leaves only by cancellation."""
        while True:
            seconds = TRY_AGAIN
            with suppress(StoreUnavailable):
                now, found = self._services.now(), await self._services.runs.load(self._id)
                heartbeat = found[0] if found is not None else None
                if heartbeat is not None and heartbeat.enabled:
                    seconds = (heartbeat.next_run_at - now).total_seconds()
                    if seconds <= 0:
                        due_at = heartbeat.next_run_at
                        await self._claim(due_at, following(due_at, heartbeat.interval, now), now)
            await trio.sleep(min(max(0.0, seconds), LOOK_AGAIN))

    async def _claim(self, due_at: datetime, after: datetime, now: datetime) -> HeartbeatRun | None:
        return await self._services.runs.claim(
            Claim(new_id("hbr"), self._id, due_at, after, self._services.owner, now, now + LEASE)
        )
