"""Group commit: what everybody wants written, in one transaction after the other."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import trio

from understudy.actors.store.messages import Write, WriteGroups
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
        self._queue: deque[_Asked] = deque()
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
        self._enqueue(_Asked(deferred, (message.entries,), lambda outcomes: deferred.reply(outcomes[0])))
        return deferred

    @receive
    def write_groups(
        self, message: WriteGroups
    ) -> Deferred[Sequence[StorageError | None]] | Sequence[StorageError | None]:
        """Put many groups on the next commit, or refuse them all."""
        if len(self._queue) >= self._limit:
            return [StoreUnavailable(f"{len(self._queue)} writes are waiting already")] * len(message.groups)
        deferred = self.defer(message)
        self._enqueue(_Asked(deferred, message.groups, deferred.reply))
        return deferred

    def snapshot(self) -> Mapping[str, object]:
        """How much is waiting, and how much shared a commit so far."""
        return {"queued": len(self._queue), "commits": self._commits, "groups": self._groups}

    def _enqueue(self, asked: "_Asked") -> None:
        self._queue.append(asked)
        self._wake.set()

    async def _commit_forever(self) -> None:
        while True:
            if not self._queue:
                self._quiet.set()
                self._wake = trio.Event()
                await self._wake.wait()
            self._quiet = trio.Event() if self._quiet.is_set() else self._quiet
            await self._commit()

    async def _commit(self) -> None:
        asked: list[_Asked] = []
        groups: list[tuple[Entry, ...]] = []
        while self._queue and len(groups) < self._batch:
            one = self._queue.popleft()
            # Told rather than asked: there is nobody to answer, and it is written all the same.
            if one.deferred.deadline is None or not one.deferred.done:
                asked.append(one)
                groups.extend(one.groups)
        if not asked:
            return
        now = trio.current_time()
        ends = [one.deferred.deadline for one in asked if one.deferred.deadline is not None]
        patience = min(self._patience, max(ends) - now) if ends else self._patience
        outcomes: Sequence[StorageError | None]
        try:
            outcomes = await self._journal.write(groups, timeout=max(0.0, patience))
        except StoreUnavailable as error:
            outcomes = [error] * len(groups)
        else:
            self._commits += 1
            self._groups += len(groups)
        at = 0
        for one in asked:
            one.reply(outcomes[at : at + len(one.groups)])
            at += len(one.groups)


@attrs.frozen
class _Asked:
    """Groups that somebody wants written, and how to tell them what became of each."""

    deferred: Deferred[Any]
    groups: Sequence[tuple[Entry, ...]]
    reply: Callable[[Sequence[StorageError | None]], object]
