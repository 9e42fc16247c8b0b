# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Jobs, as those see them who ask for them. How they are done is `understudy.storage.claims`."""

from datetime import datetime
from typing import Any

import msgspec

from understudy.storage.audit import is_recorded, record
from understudy.storage.connection import Connection
from understudy.storage.encoding import encode
from understudy.storage.errors import StoreConflict
from understudy.storage.job import Job, JobError, JobFilter, JobStatus
from understudy.storage.records import AuditEntry
from understudy.storage.repository import Repository, Row, rows
from understudy.storage.rowsecurity import Tenant

COLUMNS = (
    "id, type, payload::text, created_at, run_at, workspace_id, uid, status, priority, attempts, max_retries,"
    " timeout_seconds, dedupe_key, internal, token, result::text, error_code, error_message, retryable, started_at,"
    " finished_at"
)
_SUMMARY = COLUMNS.replace("payload::text", "'{}'").replace("result::text", "NULL")
_UNFINISHED = "status IN ('pending', 'running')"
_MINE = "id = %s AND workspace_id = %s AND NOT internal"
_DEAD = "status = 'failed' AND retryable"
# Of either kind by itself, as they are in indexes: asked for both at once, PostgreSQL reads the whole table.
_COUNT = """
SELECT (SELECT count(*)
          FROM (SELECT FROM jobs WHERE owner = %(owner)s AND status = 'pending' LIMIT %(most)s) AS waiting)
     + (SELECT count(*) FROM jobs WHERE owner = %(owner)s AND status = 'running')
"""
_CANCEL = """
UPDATE jobs SET status = 'cancelled', token = token + 1, worker = NULL, leased_until = NULL, finished_at = %s
WHERE id = %s
"""

_decode = msgspec.json.Decoder().decode


class JobRepository(Repository):
    """The jobs of workspaces: every query is about one, and reaches no other's, and none that nobody there asked for.

    A change and its line in the audit log are one transaction.
    """

    async def add(self, job: Job, audit: AuditEntry | None = None, *, most: int | None = None) -> Job:
        """Store a new job; the job that there is then: another one when that has its dedupe key, and is unfinished.

        Raises `StoreConflict` (``number of jobs``) when the workspace has *most* unfinished ones already.
        """

        async def work(connection: Connection[Any]) -> Job:
            found = await rows(connection, f"SELECT {COLUMNS} FROM jobs WHERE id = %s", job.id)
            if found:
                return job_of(found[0])  # our own first attempt, whose answer was lost
            if job.workspace_id is not None and most is not None:
                await _check_room(connection, job, most)
            while True:
                if added := await insert_job(connection, job):
                    if audit is not None:
                        await record(connection, audit)
                    return added
                if there := await _with_key(connection, job):
                    return there
                # Neither when the same request is run twice at the same time: by now the other is committed.
                if found := await rows(connection, f"SELECT {COLUMNS} FROM jobs WHERE id = %s", job.id):
                    return job_of(found[0])

        return await self._transact(work)

    async def find(self, workspace_id: str, job_id: str) -> Job | None:
        """The workspace's job of this id."""
        row = await self._row(
            f"SELECT {COLUMNS} FROM jobs WHERE {_MINE}",
            job_id,
            workspace_id,
            tenant=Tenant(workspace_id=workspace_id),
        )
        return job_of(row) if row else None

    async def list(self, asked: JobFilter) -> tuple[tuple[Job, ...], int]:
        """The jobs asked for, newest first, and how many there are without a limit.

        Without their payloads and results, each of which may be large.
        """
        where = "workspace_id = %(workspace)s AND NOT internal"
        where += " AND status = %(status)s" if asked.status is not None else ""
        where += " AND type = %(type)s" if asked.type is not None else ""
        where += f" AND {_DEAD}" if asked.dead else ""
        named = {
            "workspace": asked.workspace_id,
            "status": asked.status.value if asked.status is not None else None,
            "type": asked.type,
            "limit": asked.limit,
            "offset": asked.offset,
        }

        async def work(connection: Connection[Any]) -> tuple[tuple[Job, ...], int]:
            total = (await rows(connection, f"SELECT count(*) FROM jobs WHERE {where}", **named))[0][0]
            page = await rows(
                connection,
                f"SELECT {_SUMMARY} FROM jobs WHERE {where} ORDER BY created_at DESC, id"
                " LIMIT %(limit)s OFFSET %(offset)s",
                **named,
            )
            return tuple(map(job_of, page)), total

        return await self._run(work, tenant=Tenant(workspace_id=asked.workspace_id))

    async def cancel(
        self, workspace_id: str, job_id: str, audit: AuditEntry, *, now: datetime, force: bool = False
    ) -> tuple[Job, bool] | None:
        """Cancel the workspace's job if it waits, or with *force* if it runs; the job, and whether this cancelled it.

        None when there is no such job. What a running one still wants to say of its end is refused from then on.
        """

        async def work(connection: Connection[Any]) -> tuple[Job, bool] | None:
            mine = f"SELECT {COLUMNS} FROM jobs WHERE {_MINE} FOR UPDATE"
            found = await rows(connection, mine, job_id, workspace_id)
            if not found:
                return None
            job = job_of(found[0])
            may = {JobStatus.PENDING, JobStatus.RUNNING} if force else {JobStatus.PENDING}
            if job.status not in may:
                # Perhaps cancelled by our own first attempt, whose answer was lost: then its line is in the log.
                return job, await is_recorded(connection, audit)
            cancelled = await rows(connection, f"{_CANCEL} RETURNING {COLUMNS}", now, job_id)
            await record(connection, audit)
            return job_of(cancelled[0]), True

        return await self._transact(work)

    async def prune(self, before: datetime, *, internal: datetime | None = None, limit: int = 1000) -> int:
        """Delete up to *limit* jobs that ended before then, and internal ones that did before *internal*; how many."""
        return await self._count(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE finished_at < %(latest)s"
            " AND finished_at < CASE WHEN internal THEN %(internal)s ELSE %(before)s END"
            " ORDER BY finished_at LIMIT %(limit)s)",
            before=before,
            internal=internal or before,
            latest=max(before, internal or before),
            limit=limit,
        )


async def insert_job(connection: Connection[Any], job: Job) -> Job | None:
    """Add a row, in the transaction of *connection*; None when another unfinished job has the dedupe key."""
    added = await rows(
        connection,
        "INSERT INTO jobs (id, workspace_id, uid, type, payload, priority, max_retries, timeout_seconds, dedupe_key,"
        " internal, run_at, created_at) VALUES (%s, %s, %s, %s, %s::json, %s, %s, %s, %s, %s, %s, %s)"
        f" ON CONFLICT DO NOTHING RETURNING {COLUMNS}",
        job.id,
        job.workspace_id,
        job.uid,
        job.type,
        encode(job.payload).decode(),
        job.priority,
        job.max_retries,
        job.timeout_seconds,
        job.dedupe_key,
        job.internal,
        job.run_at,
        job.created_at,
    )
    return job_of(added[0]) if added else None


def job_of(row: Row) -> Job:
    """The job that a row of `COLUMNS` tells of."""
    id_, type_, payload, created_at, run_at, workspace_id, uid, status, priority, attempts, max_retries, *rest = row
    timeout_seconds, dedupe_key, internal, token, result, code, message, retryable, started_at, finished_at = rest
    return Job(
        id=id_,
        type=type_,
        payload=_decode(payload),
        created_at=created_at,
        run_at=run_at,
        workspace_id=workspace_id,
        uid=uid,
        status=JobStatus(status),
        priority=priority,
        attempts=attempts,
        max_retries=max_retries,
        timeout_seconds=timeout_seconds,
        dedupe_key=dedupe_key,
        internal=internal,
        token=token,
        result=_decode(result) if result is not None else None,
        error=JobError(code, message, retryable) if code is not None else None,
        started_at=started_at,
        finished_at=finished_at,
    )


async def _check_room(connection: Connection[Any], job: Job, most: int) -> None:
    # One after the other, or a thousand at once would each find room for one more.
    lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
    await rows(connection, lock, f"jobs of {_owner(job)}")
    if (await rows(connection, _COUNT, owner=_owner(job), most=most))[0][0] >= most:
        raise StoreConflict("number of jobs")


async def _with_key(connection: Connection[Any], job: Job) -> Job | None:
    """The unfinished job that has the dedupe key of *job*."""
    found = await rows(
        connection,
        f"SELECT {COLUMNS} FROM jobs WHERE owner = %s AND type = %s AND dedupe_key = %s AND {_UNFINISHED}",
        _owner(job),
        job.type,
        job.dedupe_key,
    )
    return job_of(found[0]) if found else None


def _owner(job: Job) -> str:
    """Whose turn a job takes, as the table derives it (migrations/0010_jobs.sql)."""
    if job.workspace_id is None:
        return ""
    return f"{job.workspace_id} internal" if job.internal else job.workspace_id
