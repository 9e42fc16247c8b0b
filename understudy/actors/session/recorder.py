"""A turn's events on their way to the log: numbered, committed, and only then shown."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import attrs
import trio

from understudy.actors.session.ports import Writer
from understudy.runtime import EventLog, Numbered
from understudy.storage.entries import Entry, EventsAppended
from understudy.storage.errors import StoreUnavailable
from understudy.storage.records import RunEvent, Session

BACKLOG = 512
"""Events that may wait for their commit before whoever makes them has to wait too."""

LINGER = 0.002
"""Seconds that a piece of text waits for company. Nobody can see them, and an answer that comes all at once is then
committed together with its end instead of before it."""


def storable(text: str) -> str:
    """*text* as PostgreSQL can hold it: a NUL, which models and tools may well send, becomes U+FFFD."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


@attrs.define
class _Draft:
    type: str
    data: dict[str, Any]
    text: list[str]
    sealed: bool = False
    """Offered to the database once: it may be there already, under its number, so it must not change any more."""


class Recorder:
    """Writes the events of one turn.

    No reader ever sees an event that a crash could take back: an event is published after its commit. Text that
    arrives while a commit is under way is joined into one event, so that a fast model under load costs commits, not
    latency, and a slow one is shown word by word.
    """

    def __init__(
        self, session: Session, turn_id: str, log: EventLog[RunEvent], writer: Writer, now: Callable[[], datetime]
    ) -> None:
        self._session = session
        self._turn_id = turn_id
        self._log = log
        self._writer = writer
        self._now = now
        self._pending: list[_Draft] = []
        self._work = trio.Event()
        self._room = trio.Event()
        self._turnstile = trio.Lock()
        self._waiting = 0
        self._committing = False

    def add(self, kind: str, data: dict[str, Any]) -> None:
        """Note an event; it is committed with the next flush. Does not block."""
        self._pending.append(_Draft(kind, data, []))
        self._waiting += 1
        self._work.set()

    def text(self, text: str) -> None:
        """Note a piece of the answer; joined with the piece before it if that still waits. Does not block."""
        text = storable(text)
        last = self._pending[-1] if self._pending else None
        if last is not None and last.type == "content" and not last.sealed:
            last.text.append(text)
        else:
            self._pending.append(_Draft("content", {}, [text]))
        self._waiting += 1
        self._work.set()

    @property
    def crowded(self) -> bool:
        """Whether whoever makes more should `wait_room` first: a commit is under way, or much waits for one.

        What a model says meanwhile waits in the socket, and is then read at once: the more there is to do, the less
        each word costs.
        """
        return self._committing or self._waiting > BACKLOG

    async def wait_room(self) -> None:
        """Wait until the backlog is short enough to take more."""
        while self.crowded:
            self._room = trio.Event()
            await self._room.wait()

    async def keep_flushing(self) -> None:
        """Commit whatever comes, until cancelled; a commit under way is finished first."""
        while True:
            await self._work.wait()
            await trio.sleep(LINGER)
            await self.flush()

    async def flush(self, *entries: Entry) -> None:
        """Commit all that is pending together with *entries* as one group, then publish.

        While the database is away it is tried again, for as long as it takes; cancelled between two tries, everything
        is still pending. Raises `Fenced` when the session belongs to somebody newer.
        """
        async with self._turnstile:
            if self._work.is_set():  # an unset one may have somebody waiting on it
                self._work = trio.Event()
            events = self._number(self._pending)
            if not events and not entries:
                return
            group: list[Entry] = list(entries)
            if events:
                group.append(EventsAppended(self._session.epoch, self._session.id, tuple(events)))
            self._pending, kept = [], self._pending
            self._waiting, taken = 0, self._waiting
            self._committing = True
            try:
                await self._commit(group, events)
            except BaseException:
                # Nothing of it was shown: it must not be lost to a later flush, nor change its number or its words.
                for draft in kept:
                    draft.sealed = True
                self._pending[:0] = kept
                self._waiting += taken
                self._work.set()
                raise
            finally:
                self._committing = False
                self._room.set()

    async def _commit(self, group: Sequence[Entry], events: Sequence[RunEvent]) -> None:
        while True:
            # Shielded, since a cancelled write is perhaps written: we could neither show it nor number past it.
            # The writer bounds each try.
            with trio.CancelScope(shield=True):
                try:
                    await self._writer.write(*group)
                except StoreUnavailable as error:
                    pause = error.retry_after
                else:
                    for event in events:
                        self._log.publish(Numbered(event.seq, event))
                    return
            await trio.sleep(pause)

    def _number(self, drafts: Sequence[_Draft]) -> list[RunEvent]:
        now = self._now()
        return [
            RunEvent(
                session_id=self._session.id,
                seq=seq,
                turn_id=self._turn_id,
                type=draft.type,
                data={"content": "".join(draft.text)} if draft.text else draft.data,
                created_at=now,
            )
            for seq, draft in enumerate(drafts, start=self._log.last_seq + 1)
        ]
