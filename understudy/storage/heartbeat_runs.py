# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Heartbeats, as the actors that run them see them: due times, runs, and what has been seen."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from understudy.storage.audit import record
from understudy.storage.connection import Connection
from understudy.storage.encoding import encode
from understudy.storage.entries import Published
from understudy.storage.heartbeat_records import (
    DAYS_KEPT,
    RUNS_KEPT,
    Claim,
    Heartbeat,
    HeartbeatRun,
    RunEnd,
    Woken,
    share_of_each,
)
from understudy.storage.heartbeats import BEAT, RUN, WIDTH, beat_of, run_of
from understudy.storage.leases import Leased, LeaseRepository
from understudy.storage.outbox import publish
from understudy.storage.records import AuditEntry, Json, TurnStatus
from understudy.storage.repository import rows

# One statement: whoever finds the due time gone has lost the race and changes nothing. While another run of the same
# heartbeat goes on, the due time is taken all the same, and skipped.
_CLAIM = """
WITH taken AS (
    UPDATE heartbeat_configs SET next_run_at = %(following)s
    WHERE id = %(heartbeat)s AND enabled AND next_run_at = %(due)s AND next_run_at <= %(now)s
    RETURNING id
), busy AS (
    SELECT EXISTS (SELECT FROM heartbeat_runs WHERE heartbeat_id = %(heartbeat)s AND status = 'running') AS yes
)
INSERT INTO heartbeat_runs AS r
    (id, heartbeat_id, due_at, status, attempt, owner, lease_until, started_at, finished_at, error)
SELECT %(run)s, taken.id, %(due)s, CASE WHEN yes THEN 'skipped' ELSE 'running' END, 1, %(owner)s, %(lease)s, %(now)s,
       CASE WHEN yes THEN %(now)s::timestamptz END,
       CASE WHEN yes THEN 'the run before it had not ended' END
FROM taken, busy
ON CONFLICT (heartbeat_id, due_at) DO NOTHING
RETURNING
"""


class HeartbeatRunRepository(LeaseRepository):
    """Due times and runs, whosever they are.

    A run is changed only while it belongs to the attempt that is named: whoever lost it, by pausing for longer than the
    lease, changes nothing and is told so.
    """

    leased = Leased("heartbeat_runs", "attempt", "lease_until", "status = 'running'")

    async def due(self, before: datetime, *, now: datetime, limit: int) -> tuple[str, ...]:
        """Heartbeats with something to do by *before*: abandoned runs first, then by due time."""
        found = await self._rows(
            "(SELECT heartbeat_id FROM heartbeat_runs WHERE status = 'running' AND lease_until <= %(now)s"
            " ORDER BY lease_until LIMIT %(limit)s) UNION ALL "
            "(SELECT id FROM heartbeat_configs WHERE enabled AND next_run_at <= %(before)s"
            " ORDER BY next_run_at LIMIT %(limit)s) LIMIT %(limit)s",
            now=now,
            before=before,
            limit=limit,
        )
        return tuple(dict.fromkeys(row[0] for row in found))

    async def load(self, heartbeat_id: str) -> tuple[Heartbeat, HeartbeatRun | None] | None:
        """A heartbeat, whosever it is, and its run that has not ended, if any."""
        row = await self._row(
            f"SELECT {BEAT}, {RUN} FROM heartbeat_configs h"
            " LEFT JOIN heartbeat_runs r ON r.heartbeat_id = h.id AND r.status = 'running' WHERE h.id = %s",
            heartbeat_id,
        )
        return (beat_of(row[:WIDTH]), run_of(row[WIDTH:]) if row[WIDTH] else None) if row else None

    async def claim(self, claim: Claim) -> HeartbeatRun | None:
        """Take a due time, which is then nobody else's: its run, running or skipped; None when it was gone."""
        row = await self._row(
            f"{_CLAIM} {RUN}",
            heartbeat=claim.heartbeat_id,
            run=claim.run_id,
            due=claim.due_at,
            following=claim.following,
            owner=claim.owner,
            now=claim.now,
            lease=claim.lease_until,
        )
        if row is None:  # or it was taken by our own first attempt, whose answer was lost
            row = await self._row(f"SELECT {RUN} FROM heartbeat_runs r WHERE r.id = %s", claim.run_id)
        return run_of(row) if row else None

    async def take_over(
        self, run: HeartbeatRun, *, owner: str, now: datetime, lease_until: datetime
    ) -> HeartbeatRun | None:
        """Make *run* this owner's under a new attempt, when its lease is over or was this owner's; else None."""
        row = await self._row(
            "UPDATE heartbeat_runs r SET attempt = attempt + 1, owner = %(owner)s, lease_until = %(lease)s"
            " WHERE r.id = %(run)s AND r.status = 'running' AND r.attempt = %(attempt)s"
            f" AND (r.lease_until <= %(now)s OR r.owner = %(owner)s) RETURNING {RUN}",
            run=run.id,
            attempt=run.attempt,
            owner=owner,
            now=now,
            lease=lease_until,
        )
        return run_of(row) if row else None

    async def prepare(self, run: HeartbeatRun, wake: Json) -> bool:
        """Note what the agent is about to be told; False when the run is somebody else's by now."""
        return await self._touch(run, "wake = %(value)s::json", encode(wake).decode())

    async def note_session(self, run: HeartbeatRun, session_id: str) -> bool:
        """Note where the agent was woken; False when the run is somebody else's by now."""
        return await self._touch(run, "session_id = %(value)s", session_id)

    async def _touch(self, run: HeartbeatRun, assignment: str, value: object) -> bool:
        return bool(await self._row(self.leased.change(assignment), id=run.id, token=run.attempt, value=value))

    async def finish(
        self, run: HeartbeatRun, end: RunEnd, *, facts: Sequence[Published] = (), audit: AuditEntry | None = None
    ) -> bool:
        """End the run with all that follows from it, in one transaction; False when it is somebody else's by now."""

        async def work(connection: Connection[Any]) -> bool:
            ended = await rows(
                connection,
                self.leased.change(
                    "status = %(status)s, finished_at = %(at)s, http_status = %(http)s, item_count = %(items)s,"
                    " error = %(error)s, session_id = coalesce(%(session)s, session_id), wake = NULL"
                ),
                id=run.id,
                token=run.attempt,
                status=end.status.value,
                at=end.finished_at,
                http=end.http_status,
                items=end.item_count,
                error=end.error,
                session=end.session_id,
            )
            if not ended:  # or ended by our own first attempt, whose answer was lost
                known = "SELECT FROM heartbeat_runs WHERE id = %s AND attempt = %s AND finished_at = %s"
                return bool(await rows(connection, known, run.id, run.attempt, end.finished_at))
            await rows(
                connection,
                "UPDATE heartbeat_configs SET state = coalesce(%(state)s::json, state), errors = %(errors)s,"
                " next_run_at = greatest(next_run_at, coalesce(%(postponed)s, next_run_at)),"
                " enabled = enabled AND %(disabled)s::text IS NULL,"
                " disabled_reason = coalesce(%(disabled)s::text, disabled_reason) WHERE id = %(id)s",
                id=run.heartbeat_id,
                state=encode(end.state).decode() if end.state is not None else None,
                errors=end.errors,
                postponed=end.postponed,
                disabled=end.disabled,
            )
            await _remember(connection, run.heartbeat_id, end)
            await _forget_runs(connection, run.heartbeat_id, end.finished_at)
            await publish(connection, *facts)
            if audit is not None:
                await record(connection, audit)
            return True

        return await self._transact(work)

    async def seen(self, heartbeat_id: str) -> dict[str, frozenset[bytes]]:
        """The keys that are known of each feed."""
        found = await self._rows("SELECT feed, key FROM heartbeat_seen WHERE heartbeat_id = %s", heartbeat_id)
        keys: dict[str, set[bytes]] = {}
        for feed, key in found:
            keys.setdefault(feed, set()).add(bytes(key))
        return {feed: frozenset(known) for feed, known in keys.items()}

    async def woken(self, heartbeat: Heartbeat, scope: str, key: str) -> Woken | None:
        """The turn that was begun for this idempotency key in a session of the heartbeat's, however it ended."""
        row = await self._row(
            "SELECT t.session_id, t.id, t.status FROM sessions s JOIN turns t ON t.session_id = s.id"
            " WHERE s.uid = %s AND s.workspace_id = %s AND s.surface_id = %s"
            " AND t.idempotency_scope = %s AND t.idempotency_key = %s ORDER BY t.started_at DESC LIMIT 1",
            heartbeat.uid,
            heartbeat.workspace_id,
            f"heartbeat:{heartbeat.id}",
            scope,
            key,
        )
        return Woken(row[0], row[1], TurnStatus(row[2])) if row else None


async def _remember(connection: Connection[Any], heartbeat_id: str, end: RunEnd) -> None:
    """Note the keys that each feed lists, and keep the newest: every one that is listed is among them."""
    if not end.seen:
        return
    for feed, keys in end.seen.items():
        await rows(
            connection,
            "INSERT INTO heartbeat_seen (heartbeat_id, feed, key, seen_at)"
            " SELECT %s, %s, key, %s FROM unnest(%s::bytea[]) AS key"
            " ON CONFLICT (heartbeat_id, feed, key) DO UPDATE SET seen_at = excluded.seen_at",
            heartbeat_id,
            feed,
            end.finished_at,
            list(keys),
        )
    await rows(
        connection,
        "DELETE FROM heartbeat_seen s USING ("
        " SELECT feed, key, row_number() OVER (PARTITION BY feed ORDER BY seen_at DESC, key) AS place"
        " FROM heartbeat_seen WHERE heartbeat_id = %(id)s) old"
        " WHERE s.heartbeat_id = %(id)s AND s.feed = old.feed AND s.key = old.key"
        " AND (old.place > %(share)s OR NOT old.feed = ANY (%(watched)s))",
        id=heartbeat_id,
        share=share_of_each(len(end.watched)),
        watched=list(end.watched),
    )


async def _forget_runs(connection: Connection[Any], heartbeat_id: str, now: datetime) -> None:
    await rows(
        connection,
        "DELETE FROM heartbeat_runs WHERE heartbeat_id = %(id)s AND status <> 'running' AND (due_at < %(oldest)s"
        " OR due_at <= (SELECT due_at FROM heartbeat_runs WHERE heartbeat_id = %(id)s"
        " ORDER BY due_at DESC LIMIT 1 OFFSET %(kept)s))",
        id=heartbeat_id,
        oldest=now - timedelta(days=DAYS_KEPT),
        kept=RUNS_KEPT,
    )
