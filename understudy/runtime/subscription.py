"""Reading an actor's events for longer than the actor lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from understudy.runtime.errors import LogDetached, NoEvents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from understudy.runtime.eventlog import EventLog, Lagged, Numbered, Reader
    from understudy.runtime.system import ActorSystem


@final
class Subscription:
    """A reader of whatever incarnation is at an address. Made by `ActorSystem.subscribe`.

    When the incarnation ends, the next one is awaited (or activated) and read after the last event seen, so that each
    event comes exactly once, in order. While it is open the actor does not passivate.
    """

    def __init__(self, system: ActorSystem, address: str, after: int) -> None:
        self._system = system
        self._address = address
        self._reader: Reader[Any] | None = None
        self.seen = after

    async def __aenter__(self) -> Subscription:
        await self._attach()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leave()

    def __aiter__(self) -> AsyncIterator[Numbered[Any] | Lagged]:
        return self

    async def _attach(self) -> None:
        log: EventLog[Any] | None = await self._system.events_of(self._address)
        if log is None:
            raise NoEvents(self._address)
        self._reader = await log.subscribe(self.seen).__aenter__()

    async def _leave(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.__aexit__()

    async def __anext__(self) -> Numbered[Any] | Lagged:
        """Return the next event, waiting for it if need be. Cancelled means not consumed.

        Raises:
            NotRunning, ActorCrashed, Quarantined: The actor has ended and cannot be had again.
        """
        while True:
            if self._reader is None:
                await self._attach()
                continue
            try:
                item = await self._reader.__anext__()
            except LogDetached:
                await self._leave()
                continue
            self.seen = self._reader.seen
            return item

    def take_ready(self) -> Numbered[Any] | Lagged | None:
        """Return the next event if it is at hand, without waiting: for writing several in one go."""
        if self._reader is None:
            return None
        item = self._reader.take_ready()
        self.seen = self._reader.seen
        return item
