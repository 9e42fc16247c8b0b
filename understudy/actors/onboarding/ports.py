"""What onboarding asks of the storage."""

from typing import Protocol

from understudy.storage.oversight import Onboarded, Onboarding
from understudy.storage.records import AuditEntry


class OnboardingStore(Protocol):
    """Workspaces, agents and profiles, written together."""

    async def onboard(self, wish: Onboarding, audit: AuditEntry) -> Onboarded:
        """Set up what the user needs, whole or not at all.

        Raises `Missing` (``user``), `StoreConflict`, `StoreUnavailable`.
        """
        ...
