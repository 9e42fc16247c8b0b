"""Idempotency keys, the audit log, the outbox and diagnostic runs in memory."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs

from understudy.storage.diagnostics import KEPT
from understudy.storage.errors import StoreConflict
from understudy.storage.idempotency import IDEMPOTENCY_TTL
from understudy.storage.memory.tables import Kept, Tables, seal
from understudy.storage.oversight import AuditFilter, AuditLine
from understudy.storage.records import (
    AuditEntry,
    AuditVerdict,
    DiagnosticRun,
    Headers,
    IdempotencyKey,
    KeyClaim,
    OutboxItem,
    StoredAnswer,
    TurnStatus,
    new_id,
)


class MemoryIdempotency:
    """See `understudy.storage.idempotency.IdempotencyRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def begin(
        self,
        key: IdempotencyKey,
        *,
        now: datetime,
        ttl: timedelta = IDEMPOTENCY_TTL,
        claimant: str | None = None,
        lease: timedelta | None = None,
    ) -> StoredAnswer | KeyClaim:
        """As the real one."""
        who, until = claimant or new_id("clm"), now + (ttl if lease is None else lease)
        known = await self.find(key.scope, key.key, now=now)
        if known is None:
            seed = new_id("seed")
            self._tables.keys[key.scope, key.key] = Kept(StoredAnswer(key, now), now + ttl, seed, who, until)
            return KeyClaim(seed)
        if known.key.request_hash != key.request_hash:
            raise StoreConflict("idempotency_key")
        kept = self._tables.keys[key.scope, key.key]
        over = kept.claimed_until is None or kept.claimed_until <= now
        if kept.seed is None or not _is_open(kept) or not (over or kept.claimant == who):
            return known
        kept.doubtful = kept.doubtful or kept.claimant != who
        kept.claimant, kept.claimed_until = who, until
        return KeyClaim(kept.seed)

    async def find(self, scope: str, key: str, *, now: datetime) -> StoredAnswer | None:
        """As the real one."""
        self._tables.check()
        kept = self._tables.keys.get((scope, key))
        return kept.answer if kept is not None and kept.expires_at > now else None

    async def complete(self, key: IdempotencyKey, *, status_code: int, body: bytes, headers: Headers = ()) -> None:
        """As the real one."""
        self._tables.check()
        kept = self._tables.keys.get((key.scope, key.key))
        if kept is not None and kept.answer.key == key:
            kept.answer = attrs.evolve(kept.answer, status_code=status_code, body=body, headers=headers)

    async def release(self, key: IdempotencyKey, *, claimant: str | None = None, doubtful: bool = False) -> None:
        """As the real one."""
        self._tables.check()
        kept = self._tables.keys.get((key.scope, key.key))
        if kept is None or kept.answer.key != key or not _is_open(kept) or claimant not in {None, kept.claimant}:
            return
        if doubtful or kept.doubtful:
            kept.claimant, kept.claimed_until, kept.doubtful = None, None, True
        else:
            del self._tables.keys[key.scope, key.key]

    async def sweep(self, *, now: datetime) -> int:
        """As the real one."""
        self._tables.check()
        turns = self._tables.turns
        running = {id_ for id_, turn in turns.items() if turn.status is TurnStatus.RUNNING}
        expired = [
            key
            for key, kept in self._tables.keys.items()
            if kept.expires_at <= now and kept.answer.turn_id not in running
        ]
        for key in expired:
            del self._tables.keys[key]
        return len(expired)


def _is_open(kept: Kept) -> bool:
    return kept.answer.status_code is None and kept.answer.turn_id is None


class MemoryAudit:
    """See `understudy.storage.audit.AuditRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def append(self, *entries: AuditEntry) -> None:
        """As the real one."""
        self._tables.check()
        for entry in entries:
            self._tables.append_audit(entry)

    async def of_user(self, uid: str, *, limit: int = 100) -> tuple[AuditEntry, ...]:
        """As the real one."""
        self._tables.check()
        found = [line.entry for line in self._tables.audit if line.entry.uid == uid]
        return tuple(reversed(found))[:limit]

    async def list(
        self, wanted: AuditFilter, *, limit: int = 100, offset: int = 0
    ) -> tuple[tuple[AuditLine, ...], int]:
        """As the real one."""
        found = self._lines(wanted)[::-1]
        return found[offset : offset + limit], len(found)

    async def scan(self, wanted: AuditFilter, *, after: int = 0, limit: int = 1000) -> tuple[AuditLine, ...]:
        """As the real one."""
        return tuple(line for line in self._lines(wanted) if line.position > after)[:limit]

    async def end(self) -> int:
        """As the real one."""
        self._tables.check()
        return len(self._tables.audit)

    async def at(self, position: int) -> AuditLine | None:
        """As the real one."""
        return next((line for line in self._lines(AuditFilter()) if line.position == position), None)

    def _lines(self, wanted: AuditFilter) -> tuple[AuditLine, ...]:
        self._tables.check()
        return tuple(
            AuditLine(position, line.entry, line.hash)
            for position, line in enumerate(self._tables.audit, start=1)
            if wanted.event in (None, line.entry.event)
            and wanted.workspace_id in (None, line.entry.workspace_id)
            and wanted.uid in (None, line.entry.uid)
            and (wanted.since is None or line.entry.created_at >= wanted.since)
            and (wanted.until is None or line.entry.created_at <= wanted.until)
        )

    async def verify(self) -> AuditVerdict:
        """As the real one."""
        self._tables.check()
        prev = b""
        for position, line in enumerate(self._tables.audit, start=1):
            if line.prev_hash != prev or line.hash != seal(prev, position, line.entry):
                return AuditVerdict(len(self._tables.audit), position)
            prev = line.hash
        return AuditVerdict(len(self._tables.audit))


class MemoryOutbox:
    """See `understudy.storage.outbox.OutboxRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def claim(self, limit: int, *, now: datetime, lease: timedelta) -> tuple[OutboxItem, ...]:
        """As the real one."""
        self._tables.check()
        free = [
            waiting
            for waiting in self._tables.outbox.values()
            if waiting.done_at is None and (waiting.claimed_until is None or waiting.claimed_until <= now)
        ]
        free.sort(key=lambda waiting: (waiting.item.created_at, waiting.item.id))
        for claimed in free[:limit]:
            claimed.claimed_until = now + lease * min(2 ** min(claimed.item.attempts, 7), 120)
            claimed.item = attrs.evolve(claimed.item, attempts=claimed.item.attempts + 1)
        return tuple(claimed.item for claimed in free[:limit])

    async def done(self, ids: Sequence[str], *, now: datetime) -> int:
        """As the real one."""
        self._tables.check()
        ended = [x for id_ in ids if (x := self._tables.outbox.get(id_)) is not None and x.done_at is None]
        for item in ended:
            item.done_at = now
        return len(ended)

    async def prune(self, before: datetime) -> int:
        """As the real one."""
        self._tables.check()
        old = [id_ for id_, x in self._tables.outbox.items() if x.done_at is not None and x.done_at < before]
        for id_ in old:
            del self._tables.outbox[id_]
        return len(old)


class MemoryDiagnostics:
    """See `understudy.storage.diagnostics.DiagnosticsRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, run: DiagnosticRun) -> None:
        """As the real one."""
        self._tables.check()
        self._tables.diagnostics.setdefault(run.id, run)
        kept = await self.last(KEPT)
        self._tables.diagnostics = {run.id: run for run in kept}

    async def last(self, limit: int = KEPT) -> tuple[DiagnosticRun, ...]:
        """As the real one."""
        self._tables.check()
        runs = sorted(self._tables.diagnostics.values(), key=lambda run: run.id)
        return tuple(sorted(runs, key=lambda run: run.created_at, reverse=True)[:limit])
