"""Waking what has something to do and does not know it: after a start, a crash, or a wait of an hour."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar

import attrs
import trio

from understudy.actors.clock import utc_now
from understudy.actors.webhooks.fanout import wake
from understudy.actors.webhooks.ports import DeliveryQueue
from understudy.runtime import Actor, receive
from understudy.storage.errors import StoreUnavailable

KEPT = timedelta(days=30)
"""How long it can be read what became of a delivery; what has not been delivered by then is given up."""

EVERY = 5.0
_PRUNE_EVERY = 600.0
_AT_ONCE = 500


@attrs.frozen
class _Sweep:
    """Time to look."""


class Sweeper(Actor):
    """Every 5 s wakes the webhooks that have something due; every ten minutes deletes deliveries of 30 days ago."""

    kind: ClassVar[str | None] = "sweeper"

    def __init__(self, queue: DeliveryQueue, *, now: Callable[[], datetime] = utc_now, every: float = EVERY) -> None:
        self._queue = queue
        self._now = now
        self._every = every
        self._sweeping = False
        self._woken = self._pruned = 0
        self._prune_at = 0.0

    async def started(self) -> None:
        """Look now, and from now on."""
        self.every(self._every, _Sweep())
        self.sweep(_Sweep())

    @receive
    def sweep(self, message: _Sweep) -> None:
        """Look, unless that is going on."""
        del message
        if not self._sweeping:
            self._sweeping = True
            self.work(self._sweep, name="sweep")

    def snapshot(self) -> Mapping[str, object]:
        """How often something was woken, and how much thrown away."""
        return {"woken": self._woken, "pruned": self._pruned}

    async def _sweep(self) -> None:
        try:
            now = self._now()
            answered = await self._queue.answer_callbacks(now=now)
            due = await self._queue.due(now=now, limit=_AT_ONCE)
            queues = dict.fromkeys((*answered, *due))
            await wake(self.system, queues)
            self._woken += len(queues)
            if trio.current_time() >= self._prune_at:
                self._pruned += await self._queue.prune(now - KEPT)
                self._prune_at = trio.current_time() + _PRUNE_EVERY
        except StoreUnavailable:
            return  # the next look finds it
        finally:
            self._sweeping = False
