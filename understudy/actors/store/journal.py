"""Group commit: what everybody wants written, in one transaction after the other."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import ClassVar

import trio

from understudy.actors.store.messages import Write
from understudy.runtime import Actor, Deferred, Exit, receive
from understudy.storage.entries import Entry
from understudy.storage.errors import StorageError, StoreUnavailable
from understudy.storage.journal import Journal


class JournalActor(Actor):
    """Takes all that was asked during the last commit, writes it in one transaction, and answers everybody after it.

    The more is asked for, the more shares a commit; one who asks alone waits for nobody. Whoever's time ran out before
    the write began is left out; while PostgreSQL is away the others wait for it as long as they have.
    """

    kind: ClassVar[str | None] = "journal"
    mailbox_limit: ClassVar[int] = 20_000
    trace_depth: ClassVar[int] = 0  # it would hold on to everything written lately

    def __init__(self, journal: Journal, *, batch: int = 256, limit: int = 20_000, patience: float = 5.0) -> None:
        self._journal = journal
        self._batch = batch
        self._limit = limit
        self._patience = patience
        self._queue: deque[tuple[Deferred[StorageError | None], tuple[Entry, ...]]] = deque()
        self._wake = trio.Event()
        self._quiet = trio.Event()
        self._commits = self._groups = 0

    async def started(self) -> None:
        """Begin to commit."""
        self._quiet.set()
        self.work(self._commit_forever, name="commit")

    async def stopping(self, reason: Exit) -> None:
        """Write what was asked before the order to stop came."""
        del reason
        while self._queue or not self._quiet.is_set():
            await self._quiet.wait()
            await trio.lowlevel.checkpoint()

    @receive
    def write(self, message: Write) -> Deferred[StorageError | None] | StorageError:
        """Put a group on the next commit; refused when more wait already than could be written in time."""
        if len(self._queue) >= self._limit:
            return StoreUnavailable(f"{len(self._queue)} writes are waiting already")
        deferred = self.defer(message)
        self._queue.append((deferred, message.entries))
        self._wake.set()
        return deferred

    def snapshot(self) -> Mapping[str, object]:
        """How much is waiting, and how much shared a commit so far."""
        return {"queued": len(self._queue), "commits": self._commits, "groups": self._groups}

    async def _commit_forever(self) -> None:
        while True:
            if not self._queue:
                self._quiet.set()
                self._wake = trio.Event()
                await self._wake.wait()
            self._quiet = trio.Event() if self._quiet.is_set() else self._quiet
            await self._commit()

    async def _commit(self) -> None:
        waiting: list[tuple[Deferred[StorageError | None], tuple[Entry, ...]]] = []
        while self._queue and len(waiting) < self._batch:
            deferred, entries = self._queue.popleft()
            # Told rather than asked: there is nobody to answer, and it is written all the same.
            if deferred.deadline is None or not deferred.done:
                waiting.append((deferred, entries))
        if not waiting:
            return
        now = trio.current_time()
        ends = [deferred.deadline for deferred, _ in waiting if deferred.deadline is not None]
        patience = min(self._patience, max(ends) - now) if ends else self._patience
        outcomes: Sequence[StorageError | None]
        try:
            outcomes = await self._journal.write([entries for _, entries in waiting], timeout=max(0.0, patience))
        except StoreUnavailable as error:
            outcomes = [error] * len(waiting)
        else:
            self._commits += 1
            self._groups += len(waiting)
        for (deferred, _), outcome in zip(waiting, outcomes, strict=True):
            deferred.reply(outcome)
