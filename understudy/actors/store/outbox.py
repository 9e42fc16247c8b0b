"""Handing published facts to those of this process who want them."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

import attrs
import structlog
import trio

from understudy.actors.clock import utc_now
from understudy.runtime import Actor, receive
from understudy.storage.errors import StoreUnavailable
from understudy.storage.outbox import OutboxRepository
from understudy.storage.records import OutboxItem

log = structlog.get_logger("understudy.outbox")

_LEASE = timedelta(seconds=30)
_BATCH = 100
_LOOK_EVERY = 5.0
_LISTEN = 60.0

_GATHER = 0.025
"""Seconds that a fact waits for company after the hint that it is there: one claim then serves a burst of them."""


@attrs.frozen
class Consumer:
    """Who wants facts: its name, the topics (None: every one), and what it does with each.

    ``deliver`` is called at least once for each fact and must bear being called again with the same one. What it raises
    is logged, and the fact comes again after the lease, then ever less often. ``sift``, if there is one, is first shown
    all that came at once, and says by their ids which are worth being delivered.
    """

    name: str
    topics: Collection[str] | None
    deliver: Callable[[OutboxItem], Awaitable[None]]
    sift: Callable[[Sequence[OutboxItem]], Awaitable[Collection[str]]] | None = None

    def wants(self, topic: str) -> bool:
        """Whether facts of this topic go to this consumer."""
        return self.topics is None or topic in self.topics


@attrs.frozen
class _Drain:
    """Time to look whether something was published."""


class OutboxActor(Actor):
    """Delivers each fact at least once, oldest first, to every consumer of its topic; facts nobody wants are dropped.

    When one of them raises, all of them get the fact again: after the lease (30 s), and then after twice as
    long each time, to an hour.
    """

    kind: ClassVar[str | None] = "outbox"

    def __init__(
        self,
        outbox: OutboxRepository,
        consumers: Sequence[Consumer],
        *,
        now: Callable[[], datetime] = utc_now,
        every: float = _LOOK_EVERY,
    ) -> None:
        self._outbox = outbox
        self._consumers = consumers
        self._now = now
        self._every = every
        self._draining = self._again = False
        self._delivered = self._failed = 0

    async def started(self) -> None:
        """Look now, whenever the database hints at something new, and now and then without a hint."""
        self.every(self._every, _Drain())
        self.drain(_Drain())
        if self._consumers:
            self.work(self._listen, name="listen")

    @receive
    def drain(self, message: _Drain) -> None:
        """Deliver what is there, unless that is going on."""
        del message
        self._again = True
        if not self._draining:
            self._draining = True
            self.work(self._deliver, name="deliver")

    def snapshot(self) -> Mapping[str, object]:
        """What was delivered, what consumers refused, and who they are."""
        names = [consumer.name for consumer in self._consumers]
        return {"delivered": self._delivered, "failed": self._failed, "consumers": names}

    async def _listen(self) -> None:
        while True:
            try:
                async with self._outbox.listening() as hinted:
                    while True:
                        if await hinted(_LISTEN):
                            await trio.sleep(_GATHER)
                            self.ref.tell(_Drain())
            except StoreUnavailable:
                await trio.sleep(self._every)  # the beat goes on meanwhile

    async def _deliver(self) -> None:
        try:
            while self._again:
                self._again = False
                full = True
                while full:
                    items = await self._outbox.claim(_BATCH, now=self._now(), lease=_LEASE)
                    full = len(items) == _BATCH
                    wanted = await self._sift(items)
                    done = [item.id for item in items if await self._hand_over(item, wanted[item.id])]
                    if done:
                        await self._outbox.done(done, now=self._now())
        except StoreUnavailable:
            return  # the next look finds what is left
        finally:
            self._draining = False

    async def _sift(self, items: Sequence[OutboxItem]) -> dict[str, list[Consumer]]:
        """Who wants each of *items*, by their ids."""
        wanting: dict[str, list[Consumer]] = {item.id: [] for item in items}
        for consumer in self._consumers:
            mine = [item for item in items if consumer.wants(item.topic)]
            worth: Collection[str] = [item.id for item in mine]
            if mine and consumer.sift is not None:
                try:
                    worth = await consumer.sift(mine)
                except Exception as error:  # noqa: BLE001  # as in `_hand_over`: it is then given all of them
                    log.warning("facts not sifted", consumer=consumer.name, error=repr(error))
            for item in mine:
                if item.id in worth:
                    wanting[item.id].append(consumer)
        return wanting

    async def _hand_over(self, item: OutboxItem, wanting: Sequence[Consumer]) -> bool:
        for consumer in wanting:
            try:
                await consumer.deliver(item)
            except Exception as error:  # noqa: BLE001  # a consumer's mistake is its own: the others' facts go on
                self._failed += 1
                log.warning("fact refused", consumer=consumer.name, topic=item.topic, fact=item.id, error=repr(error))
                return False
        self._delivered += bool(wanting)
        return True
