"""What the costs ask of the storage."""

from datetime import datetime
from typing import Protocol

from understudy.storage.spending import Spent


class Bill(Protocol):
    """The bill of every workspace."""

    async def spent(self, workspace_id: str, since: datetime, until: datetime) -> Spent:
        """What the workspace spent from *since* until just before *until*. Raises `StoreUnavailable`."""
        ...
