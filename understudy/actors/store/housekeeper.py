"""Throwing away what is too old to matter."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar

import attrs

from understudy.actors.clock import utc_now
from understudy.runtime import Actor, receive
from understudy.storage.errors import StoreUnavailable
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


@attrs.frozen
class _Sweep:
    """Time to tidy up."""


class HousekeeperActor(Actor):
    """Every ten minutes deletes expired idempotency keys, old events and traces, and delivered outbox items."""

    kind: ClassVar[str | None] = "housekeeper"

    def __init__(self, stores: Repositories, *, now: Callable[[], datetime] = utc_now, every: float = _EVERY) -> None:
        self._stores = stores
        self._now = now
        self._every = every
        self._sweeping = False
        self._deleted = {"keys": 0, "events": 0, "outbox": 0, "traces": 0}

    async def started(self) -> None:
        """Sweep from now on, the first time after one interval: starts should be quick."""
        self.every(self._every, _Sweep())

    @receive
    def sweep(self, message: _Sweep) -> None:
        """Tidy up, unless that is going on."""
        del message
        if not self._sweeping:
            self._sweeping = True
            self.work(self._sweep, name="sweep")

    def snapshot(self) -> Mapping[str, object]:
        """What was deleted so far."""
        return {"deleted": dict(self._deleted)}

    async def _sweep(self) -> None:
        now = self._now()
        try:
            self._deleted["keys"] += await self._stores.idempotency.sweep(now=now)
            self._deleted["outbox"] += await self._stores.outbox.prune(now - DELIVERED_KEPT)
            while deleted := await self._stores.sessions.prune_events(now - EVENTS_KEPT):
                self._deleted["events"] += deleted
            await self._stores.costs.prune_counters(now - COUNTERS_KEPT)
            while deleted := await self._stores.traces.prune(now - TRACES_KEPT):
                self._deleted["traces"] += deleted
        except StoreUnavailable:
            return  # what is left is swept next time
        finally:
            self._sweeping = False
