"""Waking what has something to do and does not know it: after a start, a crash, or a wait of an hour."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar

import trio

from understudy.actors.clock import utc_now
from understudy.actors.sweeping import Sweeping
from understudy.actors.webhooks.fanout import wake
from understudy.actors.webhooks.ports import DeliveryQueue

KEPT = timedelta(days=30)
"""How long it can be read what became of a delivery; what has not been delivered by then is given up."""

EVERY = 5.0
_PRUNE_EVERY = 600.0
_AT_ONCE = 500


class Sweeper(Sweeping):
    """Every 5 s wakes the webhooks that have something due; every ten minutes deletes deliveries of 30 days ago."""

    kind: ClassVar[str | None] = "sweeper"

    def __init__(self, queue: DeliveryQueue, *, now: Callable[[], datetime] = utc_now, every: float = EVERY) -> None:
        self._queue = queue
        self._now = now
        self.sweep_every = every
        self._woken = self._pruned = 0
        self._prune_at = 0.0

    def snapshot(self) -> Mapping[str, object]:
        """How often something was woken, and how much thrown away."""
        return {"woken": self._woken, "pruned": self._pruned}

    async def _sweep(self) -> None:
        now = self._now()
        answered = await self._queue.answer_callbacks(now=now)
        due = await self._queue.due(now=now, limit=_AT_ONCE)
        queues = dict.fromkeys((*answered, *due))
        await wake(self.system, queues)
        self._woken += len(queues)
        if trio.current_time() >= self._prune_at:
            self._pruned += await self._queue.prune(now - KEPT)
            self._prune_at = trio.current_time() + _PRUNE_EVERY
