"""Allowances for what is asked of models beside turns: reserved before, settled after, as a turn's are."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Protocol

import attrs
import trio

from understudy.actors.agents.config import AgentConfig
from understudy.actors.costs.prices import PriceBook
from understudy.actors.costs.quotas import needs
from understudy.actors.inference.messages import ModelRequest
from understudy.storage.errors import QuotaExceeded, StoreUnavailable
from understudy.storage.records import SessionKey, Usage
from understudy.storage.spending import Charge, Reservation

LASTS = timedelta(minutes=10)
"""How long a reservation stands that nobody settles: longer than anything that reserves."""
FAREWELL = 5.0
"""Seconds to settle in, whatever ended the work."""


class AllowanceStore(Protocol):
    """Where is counted; see `storage.allowances`."""

    async def reserve(self, holder: str, wanted: Sequence[Reservation], *, now: datetime, lapses_at: datetime) -> None:
        """Speak for all of it. Raises `QuotaExceeded`."""
        ...

    async def settle(self, holder: str, charges: Sequence[Charge]) -> None:
        """Give it back, and count what was used."""
        ...


class Billed(Protocol):
    """Who knows what was used so far."""

    @property
    def charges(self) -> tuple[Charge, ...]:
        """Each inference."""
        ...


@attrs.frozen
class Purse:
    """The allowances of agents and users, for work that belongs to no running turn."""

    store: AllowanceStore
    prices: PriceBook
    now: Callable[[], datetime]
    user_monthly: int | None = None

    @asynccontextmanager
    async def spending(
        self, holder: str, config: AgentConfig, key: SessionKey, request: ModelRequest, notes: Billed
    ) -> AsyncIterator[bool]:
        """Reserve what *request* may need; what *notes* has been charged in the block is settled at its end.

        Yields False when an allowance does not suffice: then nothing must be asked. Whoever stores what came of it may
        settle *holder* in the same transaction. Raises `StoreUnavailable`.
        """
        now = self.now()
        said = sum(len(message.content) for message in request.messages)
        usage = Usage(said // 4, request.max_output_tokens or config.max_output_tokens)
        wanted = needs(config, key, usage, now=now, prices=self.prices, user_monthly=self.user_monthly)
        if not wanted:
            yield True
            return
        try:
            await self.store.reserve(holder, [each.reservation for each in wanted], now=now, lapses_at=now + LASTS)
        except QuotaExceeded:
            yield False
            return
        try:
            yield True
        finally:
            # Without a database it lapses.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL), suppress(StoreUnavailable):
                await self.store.settle(holder, notes.charges)
