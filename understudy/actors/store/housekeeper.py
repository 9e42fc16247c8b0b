"""Throwing away what is too old to matter."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar

from understudy.actors.clock import utc_now
from understudy.actors.sweeping import Sweeping
from understudy.storage.repositories import Repositories

EVENTS_KEPT = timedelta(days=7)
"""How long a session's events can be replayed after they happened."""

DELIVERED_KEPT = timedelta(days=1)
"""How long delivered outbox items stay for whoever wants to look."""

TRACES_KEPT = timedelta(days=30)
"""How long it can be read how a turn went. What it cost is kept."""

COUNTERS_KEPT = timedelta(days=40)
"""How long an allowance is kept after it began: longer than the longest, a month."""

_EVERY = 600.0


class HousekeeperActor(Sweeping):
    """Every ten minutes deletes expired idempotency keys, old events and traces, and delivered outbox items."""

    kind: ClassVar[str | None] = "housekeeper"
    sweeps_at_start: ClassVar[bool] = False  # starts should be quick

    def __init__(self, stores: Repositories, *, now: Callable[[], datetime] = utc_now, every: float = _EVERY) -> None:
        self._stores = stores
        self._now = now
        self.sweep_every = every
        self._deleted = {"keys": 0, "events": 0, "outbox": 0, "traces": 0}

    def snapshot(self) -> Mapping[str, object]:
        """What was deleted so far."""
        return {"deleted": dict(self._deleted)}

    async def _sweep(self) -> None:
        now = self._now()
        self._deleted["keys"] += await self._stores.idempotency.sweep(now=now)
        self._deleted["outbox"] += await self._stores.outbox.prune(now - DELIVERED_KEPT)
        while deleted := await self._stores.sessions.prune_events(now - EVENTS_KEPT):
            self._deleted["events"] += deleted
        await self._stores.costs.prune_counters(now - COUNTERS_KEPT)
        while deleted := await self._stores.traces.prune(now - TRACES_KEPT):
            self._deleted["traces"] += deleted
