"""The actor of the built-in schedule: what is due becomes a job."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import ClassVar

import attrs

from understudy.actors.clock import utc_now, written
from understudy.actors.jobs.duetimes import last_due, next_due
from understudy.actors.jobs.kinds import Scheduled
from understudy.actors.jobs.messages import DISPATCHER, SCHEDULE, LookForJobs
from understudy.actors.jobs.ports import DueTimes
from understudy.runtime import Actor, ChildSpec, receive
from understudy.storage.errors import StoreUnavailable
from understudy.storage.job import Job
from understudy.storage.records import new_id

LONGEST_WAIT = 60.0
"""Seconds between two looks at the clock at most: it may be set, and the machine may have slept."""

_RETRY = 5.0


@attrs.frozen
class _Look:
    """Time to see what is due."""


class Schedule(Actor):
    """Puts one job on the queue for each due time, whichever number of nodes have one database.

    The database knows the latest due time of each name that was seen to, and lets only later ones pass: so it does not
    matter how often this is killed, and what became due while nobody ran is made up for, once. A name that is new is
    due from then on.
    """

    kind: ClassVar[str | None] = "schedule"

    def __init__(
        self,
        due_times: DueTimes,
        scheduled: Sequence[Scheduled],
        zone: tzinfo,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._due_times = due_times
        self._scheduled = {each.name: each for each in scheduled}
        self._zone = zone
        self._now = now
        self._seen: dict[str, datetime] = {}
        self._known = False

    async def started(self) -> None:
        """Look at once for what became due meanwhile."""
        self.after(0.0, _Look())

    @receive
    async def look(self, message: _Look) -> None:
        """See to what is due, and come back when the next is."""
        del message
        try:
            await self._see_to_what_is_due()
        except StoreUnavailable:
            self.status = "waiting for the database"
            self.after(_RETRY, _Look())
            return
        self.status = None
        now = self._now()
        waits = [(next_due(each, now, self._zone) - now).total_seconds() for each in self._scheduled.values()]
        self.after(max(0.05, min([*waits, LONGEST_WAIT])), _Look())

    def snapshot(self) -> Mapping[str, object]:
        """For each name: the type of its jobs, and when it was due last and is due next."""
        now = self._now()
        return {
            name: {
                "kind": each.kind,
                "last": written(self._seen[name]) if name in self._seen else None,
                "next": written(next_due(each, now, self._zone)),
            }
            for name, each in self._scheduled.items()
        }

    async def _see_to_what_is_due(self) -> None:
        now = self._now()
        due = {name: last_due(each, now, self._zone) for name, each in self._scheduled.items()}
        if not self._known:
            self._seen = dict(await self._due_times.seen())
            for name in due.keys() - self._seen.keys():
                await self._due_times.begin(name, due[name])
                self._seen[name] = due[name]
            self._known = True
        for name, when in due.items():
            if when > self._seen[name]:
                if await self._due_times.enqueue(name, when, self._job(self._scheduled[name], when, now)):
                    self.system.tell(DISPATCHER, LookForJobs())
                self._seen[name] = when

    def _job(self, scheduled: Scheduled, due: datetime, now: datetime) -> Job:
        return Job(
            id=new_id("job"),
            type=scheduled.kind,
            payload=scheduled.payload,
            created_at=now,
            run_at=now,
            timeout_seconds=scheduled.timeout_seconds,
            dedupe_key=f"{scheduled.name}:{due.isoformat()}",
        )


def schedule_spec(
    due_times: DueTimes, scheduled: Sequence[Scheduled], zone: tzinfo, now: Callable[[], datetime] = utc_now
) -> ChildSpec:
    """The child at `SCHEDULE`."""
    return ChildSpec(SCHEDULE.rpartition("/")[2], Schedule, args=(due_times, scheduled, zone, now))
