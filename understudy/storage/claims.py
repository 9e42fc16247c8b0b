# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Jobs, as those see them who do them: claimed for the time of a lease, and ended by whoever holds the newest token."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import attrs

from understudy.storage.connection import Connection
from understudy.storage.encoding import encode
from understudy.storage.job import Job, JobError, Told
from understudy.storage.jobs import COLUMNS, job_of
from understudy.storage.leases import Leased, LeaseRepository
from understudy.storage.outbox import publish
from understudy.storage.records import Json
from understudy.storage.repository import rows

_UNHANDED = "worker = NULL, leased_until = NULL"
_COMPLETE = f"status = 'completed', {_UNHANDED}, finished_at = %(now)s, result = %(result)s::json," + (
    " error_code = NULL, error_message = NULL, retryable = NULL"
)
_FAIL = f"status = 'failed', {_UNHANDED}, finished_at = %(now)s, error_code = %(code)s," + (
    " error_message = %(message)s, retryable = %(retryable)s"
)
_RETRY = f"status = 'pending', {_UNHANDED}, run_at = %(retry_at)s, error_code = %(code)s," + (
    " error_message = %(message)s, retryable = %(retryable)s"
)
_RELEASE = f"status = 'pending', {_UNHANDED}, run_at = %(now)s, attempts = attempts - 1"


class ClaimRepository(LeaseRepository):
    """The queue, from the worker's side. Any number of workers share it without meeting.

    Whoever ends an attempt names the token of their claim. When the job has changed hands since (the lease ran out and
    another claimed it, or it was cancelled) the answer is False, and nothing was changed.
    """

    leased = Leased("jobs", "token", "leased_until", "status = 'running'")

    async def claim(
        self, worker: str, *, limit: int, per_workspace: int, now: datetime, lease: timedelta
    ) -> tuple[Job, ...]:
        """Take at most *limit* jobs that are due; each is an attempt. No workspace has more than its share running."""
        found = await self._rows(
            f"SELECT {COLUMNS} FROM jobs_claim(%s, %s, %s, %s, %s)", worker, limit, per_workspace, now, now + lease
        )
        return tuple(sorted(map(job_of, found), key=lambda job: (-job.priority, job.run_at, job.id)))

    async def next_due(self, now: datetime) -> datetime | None:
        """When the first of those is due that cannot be claimed yet; None when there are none."""
        row = await self._row("SELECT min(run_at) FROM jobs WHERE status = 'pending' AND run_at > %s", now)
        return row[0] if row else None

    async def complete(self, job_id: str, token: int, result: Json | None, *, now: datetime) -> bool:
        """The attempt went well."""
        encoded = encode(result).decode() if result is not None else None
        return await self._end(job_id, token, _COMPLETE, result=encoded, now=now)

    async def fail(
        self, job_id: str, token: int, error: JobError, *, now: datetime, retry_at: datetime | None, told: Told
    ) -> bool:
        """The attempt failed. The next one is at *retry_at*; None gives the job up, which *told* makes a fact of."""
        return await self._end(
            job_id,
            token,
            _FAIL if retry_at is None else _RETRY,
            told if retry_at is None else None,
            now=now,
            retry_at=retry_at,
            **attrs.asdict(error),
        )

    async def release(self, job_id: str, token: int, *, now: datetime) -> bool:
        """The attempt was none: the job waits again, as before it was claimed."""
        return await self._end(job_id, token, _RELEASE, now=now)

    async def rescue(self, worker: str, living: Collection[str], error: JobError, *, now: datetime, told: Told) -> int:
        """Let jobs wait again that nobody does any more; how many.

        Those are claims of *worker* for jobs that are not among the *living*, whose attempt then was none; and leases
        that ran out, whose attempt failed of *error*, perhaps the last one.
        """

        async def work(connection: Connection[Any]) -> int:
            lost = await rows(
                connection,
                f"SELECT worker = %(worker)s AND leased_until > %(now)s, {COLUMNS} FROM jobs WHERE status = 'running'"
                " AND (leased_until <= %(now)s OR worker = %(worker)s) AND NOT id = ANY (%(living)s)"
                " FOR UPDATE SKIP LOCKED",
                worker=worker,
                living=list(living),
                now=now,
            )
            for unbegun, *row in lost:
                job = job_of(tuple(row))
                change = _RELEASE if unbegun else _FAIL if job.is_last_attempt else _RETRY
                named = {"now": now, "retry_at": now, **attrs.asdict(error)}
                changed = await rows(
                    connection,
                    f"UPDATE jobs SET {change}, token = token + 1 WHERE id = %(id)s RETURNING {COLUMNS}",
                    id=job.id,
                    **named,
                )
                if change is _FAIL:
                    await _tell(connection, told, job_of(changed[0]))
            return len(lost)

        return await self._transact(work)

    async def _end(self, job_id: str, token: int, change: str, told: Told | None = None, **named: object) -> bool:
        async def work(connection: Connection[Any]) -> bool:
            statement = self.leased.change(change, COLUMNS)
            changed = await rows(connection, statement, id=job_id, token=token, **named)
            if changed and told is not None:
                await _tell(connection, told, job_of(changed[0]))
            # With our token and not running: it was ended by our own first attempt, whose answer was lost. Whoever
            # else ends a claim takes the token with it.
            return bool(
                changed or await rows(connection, "SELECT FROM jobs WHERE id = %s AND token = %s", job_id, token)
            )

        return await self._transact(work)


async def _tell(connection: Connection[Any], told: Told, job: Job) -> None:
    fact = told(job)
    if fact is not None:
        await publish(connection, fact)
