"""What was due when: each due time of the schedule becomes one job, whichever node comes first."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from understudy.storage.connection import Connection
from understudy.storage.job import Job
from understudy.storage.jobs import insert_job
from understudy.storage.repository import Repository, rows

_ADVANCE = """
INSERT INTO job_schedule AS s (name, due) VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET due = excluded.due WHERE s.due < excluded.due
RETURNING name
"""


class ScheduleRepository(Repository):
    """The latest due time of each name that was seen to."""

    async def seen(self) -> Mapping[str, datetime]:
        """All of them."""
        return dict(await self._rows("SELECT name, due FROM job_schedule"))

    async def begin(self, name: str, due: datetime) -> None:
        """Let a name count from this due time on, for which nothing is done; a name that counts already is left."""
        await self._count("INSERT INTO job_schedule (name, due) VALUES (%s, %s) ON CONFLICT DO NOTHING", name, due)

    async def enqueue(self, name: str, due: datetime, job: Job) -> bool:
        """See to this due time: put *job* on the queue, unless that was done, or a later one was seen to.

        In one transaction, so that it happens once in any number of nodes and is never forgotten; whether it was here.
        When the job of an earlier due time is still unfinished and has the same dedupe key, it stands for both.
        """

        async def work(connection: Connection[Any]) -> bool:
            if not await rows(connection, _ADVANCE, name, due):
                # Perhaps that was our own first attempt, whose answer was lost.
                return bool(await rows(connection, "SELECT FROM jobs WHERE id = %s", job.id))
            await insert_job(connection, job)
            return True

        return await self._transact(work)
