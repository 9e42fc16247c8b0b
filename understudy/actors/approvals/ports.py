"""What approvals need of the storage."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from understudy.storage.entries import Published
from understudy.storage.records import Approval, ApprovalStatus, AuditEntry


class ApprovalStore(Protocol):
    """Requests for consent; each may raise `StoreUnavailable`. See `storage.approvals` for the whole."""

    async def request(self, approval: Approval, *facts: Published) -> Approval:
        """Store a request and tell *facts* of it; a known one is answered as it is now."""
        ...

    async def decide(
        self, approval_id: str, status: ApprovalStatus, *, by: str, note: str | None, now: datetime, audit: AuditEntry
    ) -> Approval | None:
        """Approve or deny a request that is pending at *now*; None if it is not."""
        ...

    async def end(self, ids: Sequence[str], status: ApprovalStatus, now: datetime) -> int:
        """Expire or cancel those that are still pending; how many were."""
        ...

    async def decided(self, ids: Sequence[str]) -> tuple[Approval, ...]:
        """Those of *ids* that are not pending any more, whoever decided them."""
        ...

    async def get(self, workspace_id: str, approval_id: str, *, uid: str | None = None) -> Approval | None:
        """One request of the workspace, and of this user if one is given."""
        ...

    async def list(
        self,
        workspace_id: str,
        *,
        uid: str | None = None,
        status: ApprovalStatus | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[tuple[Approval, ...], int]:
        """A page, newest first, and how many there are on all pages."""
        ...

    async def pending(self) -> tuple[Approval, ...]:
        """All that are pending."""
        ...

    async def withdraw_abandoned(self, now: datetime) -> int:
        """Cancel what is pending of turns that have ended: nobody waits for it. How many."""
        ...

    async def prune(self, before: datetime) -> int:
        """Delete decided ones that were requested before *before*; how many."""
        ...
