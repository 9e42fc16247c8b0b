"""What the metrics ask of the storage."""

from typing import Protocol


class Totals(Protocol):
    """Counts over the whole database."""

    async def totals(self) -> tuple[int, int, int]:
        """Active sessions, all sessions, and the messages in them. Raises `StoreUnavailable`."""
        ...
