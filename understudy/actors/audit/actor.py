"""The actor through which others leave lines in the audit log, and read it."""

from collections import deque
from collections.abc import Mapping
from typing import ClassVar

import trio

from understudy.actors.audit.messages import (
    AUDIT,
    AuditEnd,
    AuditEntry,
    AuditLine,
    AuditPage,
    ReadAudit,
    Record,
    RecordNow,
    Verified,
    VerifyAudit,
    WalkAudit,
)
from understudy.actors.audit.ports import AuditLog, Writer
from understudy.actors.serving import Server
from understudy.runtime import ChildSpec, Deferred, Exit, receive
from understudy.storage.entries import Audited
from understudy.storage.errors import StoreUnavailable, Unstorable

LONGEST_BACKLOG = 10_000
"""Lines that may wait for the database; beyond it the oldest go, and are counted."""
BATCH = 200
LAST_CHANCE = 3.0
"""Seconds that a stopping actor spends on what still waits."""


class Audit(Server):
    """Writes lines in the order they came. Told lines wait here while the database is away; a crash loses those."""

    mailbox_limit: ClassVar[int] = LONGEST_BACKLOG

    def __init__(self, writer: Writer, log: AuditLog) -> None:
        self._writer = writer
        self._log = log
        self._waiting: deque[AuditEntry] = deque()
        self._writing = False
        self._written = self._dropped = 0

    @receive
    def record(self, message: Record) -> None:
        """Write the line soon."""
        self._waiting.append(message.entry)
        if len(self._waiting) > LONGEST_BACKLOG:
            self._waiting.popleft()
            self._dropped += 1
        if not self._writing:
            self._writing = True
            self.work(self._drain, name="write")

    @receive
    def record_now(self, message: RecordNow) -> Deferred[None]:
        """Write the line and say so."""
        return self.answer(message, self._write_one, message.entry)

    @receive
    def read(self, message: ReadAudit) -> Deferred[AuditPage]:
        """One page of lines."""
        return self.answer(message, self._read, message)

    @receive
    def walk(self, message: WalkAudit) -> Deferred[tuple[AuditLine, ...]]:
        """The next lines."""
        return self.answer(message, self._walk, message)

    @receive
    def end(self, message: AuditEnd) -> Deferred[int]:
        """Where the log ends."""
        return self.answer(message, self._log.end)

    @receive
    def verify(self, message: VerifyAudit) -> Deferred[Verified]:
        """Whether the log is whole."""
        return self.answer(message, self._verify)

    async def stopping(self, reason: Exit) -> None:
        """Write what still waits, if the database takes it in time."""
        with trio.move_on_after(LAST_CHANCE):
            await self.cancel_work()
            await self._drain()

    def snapshot(self) -> Mapping[str, object]:
        """How many lines wait, were written, and were dropped for want of room or because they cannot be stored."""
        return {"waiting": len(self._waiting), "written": self._written, "dropped": self._dropped}

    async def _read(self, message: ReadAudit) -> AuditPage:
        return AuditPage(*await self._log.list(message.wanted, limit=message.limit, offset=message.offset))

    async def _walk(self, message: WalkAudit) -> tuple[AuditLine, ...]:
        return await self._log.scan(message.wanted, after=message.after, limit=message.limit)

    async def _verify(self) -> Verified:
        verdict = await self._log.verify()
        if verdict.broken_at is None:
            return Verified(verdict.entries)
        return Verified(verdict.entries, verdict.broken_at, await self._log.at(verdict.broken_at))

    async def _write_one(self, entry: AuditEntry) -> None:
        await self._writer.write(Audited(entry))
        self._written += 1

    async def _drain(self) -> None:
        while self._waiting:
            batch = [self._waiting[i] for i in range(min(BATCH, len(self._waiting)))]
            try:
                await self._write(batch)
            except StoreUnavailable as error:
                await trio.sleep(error.retry_after)
                continue
            self._forget(batch)
        self._writing = False

    async def _write(self, batch: list[AuditEntry]) -> None:
        try:
            await self._writer.write(*(Audited(entry) for entry in batch))
            self._written += len(batch)
        except Unstorable:
            if len(batch) == 1:
                self._dropped += 1
                return
            for entry in batch:  # one bad line must not take the others with it
                await self._write([entry])

    def _forget(self, batch: list[AuditEntry]) -> None:
        """Take out what was handled; the front may have been dropped meanwhile, and ids tell."""
        handled = {entry.id for entry in batch}
        while self._waiting and self._waiting[0].id in handled:
            self._waiting.popleft()


def audit_spec(writer: Writer, log: AuditLog) -> ChildSpec:
    """The child at `AUDIT`."""
    return ChildSpec(AUDIT, Audit, args=(writer, log), shutdown=LAST_CHANCE + 2.0)
