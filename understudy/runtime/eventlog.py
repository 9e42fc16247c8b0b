"""`EventLog`: numbered events, any number of readers, each seeing every event exactly once and in order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar, final

import attrs
import trio
from trio.lowlevel import ParkingLot

from understudy.runtime.errors import FutureSequence, LogDetached, StaleIncarnation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

T = TypeVar("T")

_PAGE = 256  # events asked of the history at a time
_BREATHE = 64  # events handed out before the reader lets others run


@attrs.frozen
class Numbered(Generic[T]):
    """An event and its place in the log. The first event of a log is number 1."""

    seq: int
    event: T


@attrs.frozen
class Lagged:
    """The reader fell behind the ring by this many events.

    With a history they follow now, and nothing is missed; without one they are gone for this reader.
    """

    missed: int


@final
class EventLog(Generic[T]):
    """Numbers events and keeps the last of them in a ring; readers pull.

    A reader holds a position, not a queue: it costs the writer nothing, however slow it is.

    Args:
        last_seq: Number of the last event before this incarnation.
        ring: Events kept in memory.
        history: Reads older events from where they are kept: at most ``limit`` of those after number ``after``, in
            order. None (or an empty answer) means that they are gone.
    """

    def __init__(
        self,
        last_seq: int = 0,
        ring: int = 1024,
        history: Callable[[int, int], Awaitable[Sequence[Numbered[T]] | None]] | None = None,
    ) -> None:
        if last_seq < 0 or ring < 1:
            raise ValueError("last_seq cannot be negative, and a ring holds at least one event")
        self._last = last_seq
        self._ring: deque[Numbered[T]] = deque(maxlen=ring)
        self._history = history
        self._lot = ParkingLot()
        self._readers = 0
        self._callbacks: list[Callable[[int], None]] = []
        self._closed = False
        self._detached = False

    @property
    def last_seq(self) -> int:
        """Number of the last event; 0 when there has been none."""
        return self._last

    @property
    def readers(self) -> int:
        """How many readers are attached now."""
        return self._readers

    @property
    def closed(self) -> bool:
        """Whether the last event has been published."""
        return self._closed

    def on_readers(self, callback: Callable[[int], None]) -> None:
        """Call *callback* with the number of readers whenever it changes. It must not raise."""
        self._callbacks.append(callback)

    def append(self, event: T) -> int:
        """Give *event* the next number, publish it, and return the number. Does not block."""
        self.publish(Numbered(self._last + 1, event))
        return self._last

    def publish(self, numbered: Numbered[T]) -> None:
        """Publish an event that has its number already. Does not block.

        Raises:
            ValueError: The number is not the next one, or the log is closed.
            StaleIncarnation: The incarnation that owned this log has ended.
        """
        if self._detached:
            raise StaleIncarnation("the incarnation that owned this event log has ended")
        if self._closed:
            raise ValueError("the event log is closed")
        if numbered.seq != self._last + 1:
            raise ValueError(f"event {numbered.seq} cannot follow event {self._last}")
        self._ring.append(numbered)
        self._last = numbered.seq
        if self._lot:
            self._lot.unpark_all()

    def advance(self, last_seq: int) -> None:
        """Say that others have written events, up to number *last_seq*. Readers find them in the history.

        Does nothing when that is known already. Does not block.
        """
        if last_seq > self._last:
            self._ring.clear()
            self._last = last_seq
            self._lot.unpark_all()

    def close(self) -> None:
        """Say that no event follows. Readers end when they have seen the last one."""
        self._closed = True
        self._lot.unpark_all()

    def detach(self) -> None:
        """Cut readers off: the owner is gone, and another incarnation may write what follows."""
        self._detached = True
        self._callbacks.clear()  # nobody is left who could care: the owner's own would meet a dead incarnation
        self._lot.unpark_all()

    def subscribe(self, after: int = 0) -> Reader[T]:
        """Return a reader of everything after event *after*: an async context manager and iterator.

        Raises:
            FutureSequence: *after* is beyond `last_seq`.
        """
        if after > self._last:
            raise FutureSequence(after, self._last)
        return Reader(self, max(0, after))

    def _attached(self, change: int) -> None:
        self._readers += change
        for callback in self._callbacks:
            callback(self._readers)


@final
class Reader(Generic[T]):
    """One reader's position in a log. ``async with log.subscribe(after=7) as events: async for item in events: …``."""

    def __init__(self, log: EventLog[T], after: int) -> None:
        self._log = log
        self._page: deque[Numbered[T]] = deque()
        self._kept_up = False
        self._open = False
        self._breath = 0
        self.seen = after

    async def __aenter__(self) -> Reader[T]:
        self._open = True
        self._log._attached(1)  # noqa: SLF001 - the log and its readers are one thing
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._open:
            self._open = False
            self._log._attached(-1)  # noqa: SLF001

    def __aiter__(self) -> AsyncIterator[Numbered[T] | Lagged]:
        return self

    async def __anext__(self) -> Numbered[T] | Lagged:
        """Return the next event, waiting for it if need be. Cancelled means not consumed.

        Raises:
            LogDetached: The owner has ended.
        """
        self._breath += 1
        if self._breath >= _BREATHE:
            self._breath = 0
            await trio.lowlevel.checkpoint()
        while True:
            item = self.take_ready()
            if item is not None:
                return item
            if self._log._detached:  # noqa: SLF001
                raise LogDetached
            if self.seen < self._log.last_seq:
                lagged = await self._read_history()
                if lagged is not None:
                    return lagged
            elif self._log.closed:
                raise StopAsyncIteration
            else:
                self._breath = 0
                await self._log._lot.park()  # noqa: SLF001

    def take_ready(self) -> Numbered[T] | Lagged | None:
        """Return the next event if it is at hand; None when it would have to be waited for."""
        if self._page:
            return self._took(self._page.popleft())
        ring = self._log._ring  # noqa: SLF001
        if not ring or self.seen >= self._log.last_seq:
            return None
        behind = ring[0].seq - (self.seen + 1)
        if behind <= 0:
            self._kept_up = True
            return self._took(ring[-behind])
        if self._kept_up:
            # It had been reading from the ring and was overtaken: say so, once, before going to the history.
            self._kept_up = False
            if self._log._history is None:  # noqa: SLF001
                self.seen += behind
            return Lagged(behind)
        return None

    def _took(self, item: Numbered[T]) -> Numbered[T]:
        self.seen = item.seq
        return item

    async def _read_history(self) -> Lagged | None:
        """Fetch a page of what the ring no longer holds; `Lagged` when it cannot be had."""
        log = self._log
        page: Sequence[Numbered[T]] | None = None
        if log._history is not None:  # noqa: SLF001
            page = await log._history(self.seen, _PAGE)  # noqa: SLF001
        wanted = self.seen + 1
        fresh = [item for item in page or () if item.seq >= wanted]
        if fresh and fresh[0].seq == wanted:
            self._page.extend(fresh)
            return None
        first = fresh[0].seq if fresh else (log._ring[0].seq if log._ring else log.last_seq + 1)  # noqa: SLF001
        if first <= wanted:
            return None  # the ring has it: the page came back empty because nothing was missing
        self._page.extend(fresh)
        self.seen = first - 1
        return Lagged(first - wanted)
