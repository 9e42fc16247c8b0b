"""What the metrics ask of the storage."""

from datetime import datetime
from typing import Protocol


class Totals(Protocol):
    """Counts over the whole database."""

    async def totals(self) -> tuple[int, int, int]:
        """Active sessions, all sessions, and the messages in them. Raises `StoreUnavailable`."""
        ...

    async def late_deliveries(self, now: datetime) -> tuple[int, float]:
        """How many deliveries of webhooks are due and not taken, and for how many seconds the one that is longest.

        Raises `StoreUnavailable`.
        """
        ...

    async def billed(self, since: datetime) -> int:
        """What all workspaces have spent since then, in micro-dollars. Raises `StoreUnavailable`."""
        ...
