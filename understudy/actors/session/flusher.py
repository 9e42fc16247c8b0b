"""What all turns of a node have to say, committed together: one task and one ask for a moment's words of them all."""

from collections import deque
from collections.abc import Sequence
from typing import ClassVar, Protocol

import trio

from understudy.actors.session.ports import GroupWriter
from understudy.runtime import Actor
from understudy.storage.entries import Entry
from understudy.storage.errors import StorageError, StoreUnavailable

LINGER = 0.002
"""Seconds that a piece of text waits for company. Nobody can see them, and an answer that comes all at once is then
committed together with its end instead of before it."""

BATCH = 256
"""Turns whose words are committed at once. While the database writes them, the others' are read, sent and gathered."""


class Source(Protocol):
    """Something that has words to commit: a turn's recorder."""

    def take(self) -> tuple[Entry, ...] | None:
        """What is to be committed now; None for nothing. `settled` follows."""
        ...

    def settled(self, outcome: StorageError | None) -> None:
        """What became of it."""
        ...


class Flusher:
    """Commits what its sources have, `LINGER` seconds after the first of them said so.

    A source is asked what it has only when its commit begins, so whatever it got meanwhile goes along. It holds what is
    due, and outlives its actor's incarnations.
    """

    def __init__(self, writer: GroupWriter) -> None:
        self._writer = writer
        self._due: deque[Source] = deque()
        self._since = 0.0
        self._wake = trio.Event()

    def soon(self, source: Source) -> None:
        """Ask *source* for what it has, and commit that. Does not block."""
        if not self._due:
            self._since = trio.current_time()
            self._wake.set()
        self._due.append(source)

    async def run(self) -> None:
        """Commit until cancelled; a commit under way is finished first. One task at a time."""
        while True:
            if not self._due:
                self._wake = trio.Event()
                await self._wake.wait()
            await trio.sleep_until(self._since + LINGER)
            pause = await self._commit()
            if pause:
                await trio.sleep(pause)

    async def _commit(self) -> float:
        """One commit; the seconds to wait before the next: 0 unless the database is away."""
        taken: list[tuple[Source, tuple[Entry, ...]]] = []
        due = self._due
        while due and len(taken) < BATCH:
            source = due.popleft()
            group = source.take()
            if group is not None:
                taken.append((source, group))
        if not taken:
            return 0.0
        pause = 0.0
        outcomes: Sequence[StorageError | None] = [StoreUnavailable("the commit was broken off")] * len(taken)
        try:
            # Shielded, since a cancelled write is perhaps written, and bounded by the writer.
            with trio.CancelScope(shield=True):
                outcomes = await self._writer.write_groups([group for _, group in taken])
        except StoreUnavailable as error:
            outcomes = [error] * len(taken)
            pause = error.retry_after
        finally:
            self._tell(taken, outcomes)
        return pause

    def _tell(self, taken: Sequence[tuple[Source, tuple[Entry, ...]]], outcomes: Sequence[StorageError | None]) -> None:
        faults: list[Exception] = []
        for (source, _), outcome in zip(taken, outcomes, strict=True):
            try:
                source.settled(outcome)
            except Exception as fault:  # noqa: BLE001  # one source's fault must not keep the others waiting
                faults.append(fault)
        if faults:
            raise ExceptionGroup("sources failed to hear what became of their words", faults)


class FlusherActor(Actor):
    """Runs the flusher. Started before all sessions and stopped after them."""

    kind: ClassVar[str | None] = "flusher"

    def __init__(self, flusher: Flusher) -> None:
        self._flusher = flusher

    async def started(self) -> None:
        """Begin to commit."""
        self.work(self._flusher.run, name="flush")
