"""Heartbeats without a database."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from understudy.storage.agents import as_stored
from understudy.storage.entries import Published
from understudy.storage.errors import StoreConflict
from understudy.storage.heartbeat_records import (
    DAYS_KEPT,
    RUNS_KEPT,
    Claim,
    Heartbeat,
    HeartbeatRun,
    RunEnd,
    RunStatus,
    Woken,
    share_of_each,
)
from understudy.storage.memory.tables import Tables
from understudy.storage.records import AuditEntry, Json


class MemoryHeartbeats:
    """See `understudy.storage.heartbeats.HeartbeatRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.beats: dict[str, Heartbeat] = {}
        self.runs_of: dict[str, dict[datetime, HeartbeatRun]] = {}

    async def create(self, heartbeat: Heartbeat, audit: AuditEntry, *, most: int) -> None:
        """As the real one."""
        self._tables.check()
        if heartbeat.id in self.beats:
            return
        if sum(beat.workspace_id == heartbeat.workspace_id for beat in self.beats.values()) >= most:
            raise StoreConflict("number of heartbeats")
        self.beats[heartbeat.id] = attrs.evolve(heartbeat, document=as_stored(heartbeat.document))
        self.runs_of[heartbeat.id] = {}
        self._tables.append_audit(audit)

    async def list(self, workspace_id: str) -> tuple[tuple[Heartbeat, HeartbeatRun | None], ...]:
        """As the real one."""
        self._tables.check()
        mine = [beat for beat in self.beats.values() if beat.workspace_id == workspace_id]
        return tuple((beat, self._last(beat.id)) for beat in sorted(mine, key=lambda beat: (beat.created_at, beat.id)))

    async def change(
        self, workspace_id: str, heartbeat_id: str, change: Callable[[Heartbeat], Heartbeat], audit: AuditEntry
    ) -> tuple[Heartbeat, HeartbeatRun | None] | None:
        """As the real one."""
        self._tables.check()
        beat = self._own(workspace_id, heartbeat_id)
        if beat is None:
            return None
        changed = change(beat)
        self.beats[beat.id] = attrs.evolve(changed, document=as_stored(changed.document), state=beat.state)
        self._tables.append_audit(audit)
        return changed, self._last(beat.id)

    async def delete(
        self, workspace_id: str, heartbeat_id: str, check: Callable[[Heartbeat], None], audit: AuditEntry
    ) -> bool:
        """As the real one."""
        self._tables.check()
        beat = self._own(workspace_id, heartbeat_id)
        if beat is None:
            return any(line.entry.id == audit.id for line in self._tables.audit)
        check(beat)
        del self.beats[heartbeat_id], self.runs_of[heartbeat_id]
        self._tables.append_audit(audit)
        return True

    async def runs(
        self, workspace_id: str, heartbeat_id: str, *, limit: int, offset: int
    ) -> tuple[tuple[HeartbeatRun, ...], int] | None:
        """As the real one."""
        self._tables.check()
        if self._own(workspace_id, heartbeat_id) is None:
            return None
        found = self.newest_first(heartbeat_id)
        return tuple(found[offset : offset + limit]), len(found)

    def newest_first(self, heartbeat_id: str) -> Sequence[HeartbeatRun]:
        """All runs of a heartbeat."""
        return [run for _, run in sorted(self.runs_of[heartbeat_id].items(), reverse=True)]

    def _own(self, workspace_id: str, heartbeat_id: str) -> Heartbeat | None:
        beat = self.beats.get(heartbeat_id)
        return beat if beat is not None and beat.workspace_id == workspace_id else None

    def _last(self, heartbeat_id: str) -> HeartbeatRun | None:
        ended = (run for run in self.newest_first(heartbeat_id) if run.status is not RunStatus.RUNNING)
        return next(iter(ended), None)


class MemoryHeartbeatRuns:
    """See `understudy.storage.heartbeat_runs.HeartbeatRunRepository`."""

    def __init__(self, tables: Tables, heartbeats: MemoryHeartbeats) -> None:
        self._tables = tables
        self._heartbeats = heartbeats
        self._seen: dict[str, dict[str, dict[bytes, datetime]]] = {}

    async def due(self, before: datetime, *, now: datetime, limit: int) -> tuple[str, ...]:
        """As the real one."""
        self._tables.check()
        left = sorted((run.lease_until, run.heartbeat_id) for run in self._running() if run.lease_until <= now)
        beats = self._heartbeats.beats.values()
        due = sorted((beat.next_run_at, beat.id) for beat in beats if beat.enabled and beat.next_run_at <= before)
        return tuple(dict.fromkeys([found for _, found in (*left, *due)][:limit]))

    async def load(self, heartbeat_id: str) -> tuple[Heartbeat, HeartbeatRun | None] | None:
        """As the real one."""
        self._tables.check()
        beat = self._heartbeats.beats.get(heartbeat_id)
        return (beat, self._running_of(heartbeat_id)) if beat is not None else None

    async def claim(self, claim: Claim) -> HeartbeatRun | None:
        """As the real one."""
        self._tables.check()
        beat = self._heartbeats.beats.get(claim.heartbeat_id)
        if beat is None or not beat.enabled or beat.next_run_at != claim.due_at or claim.due_at > claim.now:
            known = [run for run in self._all() if run.id == claim.run_id]
            return known[0] if known else None
        busy = self._running_of(beat.id) is not None
        self._heartbeats.beats[beat.id] = attrs.evolve(beat, next_run_at=claim.following)
        run = HeartbeatRun(
            id=claim.run_id,
            heartbeat_id=beat.id,
            due_at=claim.due_at,
            status=RunStatus.SKIPPED if busy else RunStatus.RUNNING,
            attempt=1,
            owner=claim.owner,
            lease_until=claim.lease_until,
            started_at=claim.now,
            finished_at=claim.now if busy else None,
            error="the run before it had not ended" if busy else None,
        )
        if claim.due_at in self._heartbeats.runs_of[beat.id]:
            return None
        return self._keep(run)

    async def take_over(
        self, run: HeartbeatRun, *, owner: str, now: datetime, lease_until: datetime
    ) -> HeartbeatRun | None:
        """As the real one."""
        held = self._held(run)
        if held is None or (held.lease_until > now and held.owner != owner):
            return None
        return self._keep(attrs.evolve(held, attempt=held.attempt + 1, owner=owner, lease_until=lease_until))

    async def renew(self, claims: Mapping[str, int], until: datetime) -> frozenset[str]:
        """As the real one."""
        self._tables.check()
        mine = [run for run in self._running() if claims.get(run.id) == run.attempt]
        return frozenset(self._keep(attrs.evolve(run, lease_until=until)).id for run in mine)

    async def prepare(self, run: HeartbeatRun, wake: Json) -> bool:
        """As the real one."""
        return (held := self._held(run)) is not None and bool(self._keep(attrs.evolve(held, wake=as_stored(wake))))

    async def note_session(self, run: HeartbeatRun, session_id: str) -> bool:
        """As the real one."""
        return (held := self._held(run)) is not None and bool(self._keep(attrs.evolve(held, session_id=session_id)))

    async def finish(
        self, run: HeartbeatRun, end: RunEnd, *, facts: Sequence[Published] = (), audit: AuditEntry | None = None
    ) -> bool:
        """As the real one."""
        held = self._held(run)
        if held is None:
            same = (run.id, run.attempt, end.finished_at)
            return any((known.id, known.attempt, known.finished_at) == same for known in self._all())
        self._keep(
            attrs.evolve(
                held,
                status=end.status,
                finished_at=end.finished_at,
                http_status=end.http_status,
                item_count=end.item_count,
                error=end.error,
                session_id=end.session_id or held.session_id,
                wake=None,
            )
        )
        beat = self._heartbeats.beats[run.heartbeat_id]
        self._heartbeats.beats[beat.id] = attrs.evolve(
            beat,
            state=as_stored(end.state) if end.state is not None else beat.state,
            errors=end.errors,
            next_run_at=max(beat.next_run_at, end.postponed or beat.next_run_at),
            enabled=beat.enabled and end.disabled is None,
            disabled_reason=end.disabled or beat.disabled_reason,
        )
        self._remember(beat.id, end)
        self._forget_runs(beat.id, end.finished_at)
        self._tables.publish(*facts)
        if audit is not None:
            self._tables.append_audit(audit)
        return True

    async def seen(self, heartbeat_id: str) -> dict[str, frozenset[bytes]]:
        """As the real one."""
        self._tables.check()
        return {feed: frozenset(keys) for feed, keys in self._seen.get(heartbeat_id, {}).items() if keys}

    async def woken(self, heartbeat: Heartbeat, scope: str, key: str) -> Woken | None:
        """As the real one."""
        self._tables.check()
        for turn in reversed(self._tables.turns.values()):
            session = self._tables.sessions[turn.session_id]
            where = (session.key.uid, session.key.workspace_id, session.key.surface_id)
            asked = (turn.idempotency.scope, turn.idempotency.key) if turn.idempotency is not None else None
            if where == (heartbeat.uid, heartbeat.workspace_id, f"heartbeat:{heartbeat.id}") and asked == (scope, key):
                return Woken(turn.session_id, turn.id, turn.status)
        return None

    def _all(self) -> Iterable[HeartbeatRun]:
        return [run for runs in self._heartbeats.runs_of.values() for run in runs.values()]

    def _running(self) -> Iterable[HeartbeatRun]:
        return [run for run in self._all() if run.status is RunStatus.RUNNING]

    def _running_of(self, heartbeat_id: str) -> HeartbeatRun | None:
        return next((run for run in self._running() if run.heartbeat_id == heartbeat_id), None)

    def _held(self, run: HeartbeatRun) -> HeartbeatRun | None:
        self._tables.check()
        held = self._running_of(run.heartbeat_id)
        return held if held is not None and (held.id, held.attempt) == (run.id, run.attempt) else None

    def _keep(self, run: HeartbeatRun) -> HeartbeatRun:
        self._heartbeats.runs_of[run.heartbeat_id][run.due_at] = run
        return run

    def _remember(self, heartbeat_id: str, end: RunEnd) -> None:
        if not end.seen:
            return
        known = self._seen.setdefault(heartbeat_id, {})
        for feed, keys in end.seen.items():
            known.setdefault(feed, {}).update(dict.fromkeys(keys, end.finished_at))
        share = share_of_each(len(end.watched))
        for feed in list(known):
            newest = sorted(known[feed].items(), key=lambda item: (-item[1].timestamp(), item[0]))
            known[feed] = dict(newest[:share]) if feed in end.watched else {}

    def _forget_runs(self, heartbeat_id: str, now: datetime) -> None:
        for place, run in enumerate(self._heartbeats.newest_first(heartbeat_id)):
            old = place >= RUNS_KEPT or run.due_at < now - timedelta(days=DAYS_KEPT)
            if old and run.status is not RunStatus.RUNNING:
                del self._heartbeats.runs_of[heartbeat_id][run.due_at]
