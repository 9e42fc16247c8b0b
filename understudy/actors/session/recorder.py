"""A turn's events on their way to the log: numbered, committed, and only then shown."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import attrs
import trio

from understudy.actors.session.flusher import Flusher
from understudy.actors.session.ports import Writer
from understudy.runtime import EventLog, Numbered, StaleIncarnation
from understudy.storage.entries import Entry, EventsAppended
from understudy.storage.errors import StorageError, StoreUnavailable
from understudy.storage.records import RunEvent, Session

BACKLOG = 512
"""Events that may wait for their commit before whoever makes them has to wait too."""


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

    What is noted is committed by `flush`, and between `open` and `close` also by the *flusher* of the node, a moment
    later and together with what other turns have.
    """

    def __init__(
        self,
        session: Session,
        turn_id: str,
        log: EventLog[RunEvent],
        writer: Writer,
        now: Callable[[], datetime],
        flusher: Flusher | None = None,
    ) -> None:
        self._session = session
        self._turn_id = turn_id
        self._log = log
        self._writer = writer
        self._now = now
        self._flusher = flusher
        self._pending: list[_Draft] = []
        self._waiting = 0
        self._room = trio.Event()
        self._turnstile = trio.Lock()
        self._committing = False
        # What the flusher has: set while it is gone, with how many notes it stands for.
        self._taken: tuple[list[_Draft], list[RunEvent], int] | None = None
        self._returned = trio.Event()
        self._offered = self._stuck = False
        self._on_failure: Callable[[], object] | None = None
        self._failure: Exception | None = None

    def add(self, kind: str, data: dict[str, Any]) -> None:
        """Note an event; it is committed with the next flush. Does not block."""
        self._pending.append(_Draft(kind, data, []))
        self._waiting += 1
        if not self._offered:
            self._offer()

    def text(self, text: str) -> None:
        """Note a piece of the answer; joined with the piece before it if that still waits. Does not block."""
        text = storable(text)
        last = self._pending[-1] if self._pending else None
        if last is not None and last.type == "content" and not last.sealed:
            last.text.append(text)
        else:
            self._pending.append(_Draft("content", {}, [text]))
        self._waiting += 1
        if not self._offered:
            self._offer()

    @property
    def crowded(self) -> bool:
        """Whether whoever makes more should `wait_room` first: a commit is under way, or much waits for one.

        What a model says meanwhile waits in the socket, and is then read at once: the more there is to do, the less
        each word costs.
        """
        return self._committing or self._stuck or self._waiting > BACKLOG

    async def wait_room(self) -> None:
        """Wait until the backlog is short enough to take more."""
        while self.crowded:
            self._room = trio.Event()
            await self._room.wait()

    async def flush(self, *entries: Entry) -> None:
        """Commit all that is pending together with *entries* as one group, then publish.

        While the database is away it is tried again, for as long as it takes; cancelled between two tries, everything
        is still pending. Raises `Fenced` when the session belongs to somebody newer.
        """
        async with self._turnstile:  # nothing is taken while somebody is behind it
            while self._taken is not None:
                await self._returned.wait()
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
                self._take_back(kept, taken)
                raise
            finally:
                self._committing = False
                self._room.set()
        if self._pending:
            self._offer()

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
                    self._publish(events)
                    return
            await trio.sleep(pause)

    # --- together with others ----------------------------------------------------------------------------------

    def open(self, on_failure: Callable[[], object]) -> None:
        """From now on the flusher may take what is noted.

        *on_failure* is called when that can never be written; `close` then raises why.
        """
        self._on_failure = on_failure
        if self._pending:
            self._offer()

    async def close(self) -> None:
        """From now on nothing is committed but by `flush`. Returns when a commit under way is over: shielded.

        Raises what the database refused, such as `Fenced`.
        """
        self._on_failure, self._stuck = None, False
        if self._taken is not None:
            with trio.CancelScope(shield=True):  # bounded by the flusher's single try
                await self._returned.wait()
        if self._failure is not None:
            raise self._failure

    def take(self) -> tuple[Entry, ...] | None:
        """What is to be committed now, for the flusher, who must then call `settled`; None for nothing."""
        self._offered = False
        if self._on_failure is None or not self._pending or self._turnstile.locked():
            return None
        events = self._number(self._pending)
        self._taken = (self._pending, events, self._waiting)
        self._pending, self._waiting = [], 0
        self._committing = True
        self._returned = trio.Event()
        return (EventsAppended(self._session.epoch, self._session.id, tuple(events)),)

    def settled(self, outcome: StorageError | None) -> None:
        """What became of what was taken: None when it is committed. Does not block."""
        if self._taken is None:
            return
        drafts, events, waiting = self._taken
        self._taken = None
        self._committing = False
        self._returned.set()
        self._stuck = isinstance(outcome, StoreUnavailable) and self._on_failure is not None
        if outcome is None:
            try:
                self._publish(events)
            except StaleIncarnation:
                self._on_failure = None  # the actor was killed meanwhile: its successor reads them from the database
            except ValueError as fault:  # somebody else has written to the log: the turn's actor must begin anew
                self._fail(fault)
        else:
            self._take_back(drafts, waiting)
            if not isinstance(outcome, StoreUnavailable):
                self._fail(outcome)
        if not self._stuck:
            self._room.set()
        if self._pending and not self._offered:
            self._offer()

    def _fail(self, why: Exception) -> None:
        self._failure = why
        if self._on_failure is not None:
            self._on_failure()

    def _offer(self) -> None:
        if self._flusher is not None and self._on_failure is not None and self._failure is None:
            self._offered = True
            self._flusher.soon(self)

    # -----------------------------------------------------------------------------------------------------------

    def _take_back(self, drafts: list[_Draft], waiting: int) -> None:
        # Nothing of it was shown: it must not be lost to a later flush, nor change its number or its words.
        for draft in drafts:
            draft.sealed = True
        self._pending[:0] = drafts
        self._waiting += waiting

    def _publish(self, events: Sequence[RunEvent]) -> None:
        for event in events:
            self._log.publish(Numbered(event.seq, event))

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
