"""What the costs ask of the storage."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from understudy.storage.spending import AgentUse, Spent


class Bill(Protocol):
    """The bill of every workspace."""

    async def spent(self, workspace_id: str, since: datetime, until: datetime) -> Spent:
        """What the workspace spent from *since* until just before *until*. Raises `StoreUnavailable`."""
        ...

    async def used_by_agent(self, workspace_id: str, agent_id: str, since: Sequence[datetime]) -> tuple[AgentUse, ...]:
        """What an agent used in a workspace since each of these times. Raises `StoreUnavailable`."""
        ...

    async def counter(self, scope: str, starts: datetime) -> tuple[int, int]:
        """How much of the allowance that began then is used, and how much is reserved. Raises `StoreUnavailable`."""
        ...
