"""What workspaces need of the storage."""

from typing import Protocol

from understudy.storage.records import Membership


class Memberships(Protocol):
    """Which workspaces users belong to."""

    async def memberships(self, uid: str) -> tuple[Membership, ...]:
        """The user's memberships, oldest first. Raises `StoreUnavailable`."""
        ...
