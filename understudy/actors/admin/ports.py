"""What the admin actor asks of the storage. Every method may raise `StoreUnavailable`."""

from datetime import datetime
from typing import Protocol

from understudy.storage.job import Job
from understudy.storage.oversight import UserUsage
from understudy.storage.records import Agent, AuditEntry, User


class Overview(Protocol):
    """Everybody's agents and use."""

    async def agents(self, *, limit: int = 100, offset: int = 0) -> tuple[tuple[Agent, ...], int]:
        """One page of the agents of all workspaces, by workspace and id, and how many there are."""
        ...

    async def usage(self, uid: str, since: datetime, until: datetime) -> UserUsage:
        """What the user used from *since* until just before *until*."""
        ...

    async def job(self, type: str, job_id: str) -> Job | None:
        """The node's own job of this type and id."""
        ...


class KnownUsers(Protocol):
    """The accounts."""

    async def by_id(self, uid: str) -> User | None:
        """The account with this id."""
        ...


class UsersLines(Protocol):
    """The audit log, by user."""

    async def of_user(self, uid: str, *, limit: int = 100) -> tuple[AuditEntry, ...]:
        """The newest lines about the user, newest first."""
        ...


class AdminStores(Protocol):
    """They together."""

    @property
    def admin(self) -> Overview:
        """Everybody's agents and use."""
        ...

    @property
    def users(self) -> KnownUsers:
        """The accounts."""
        ...

    @property
    def audit(self) -> UsersLines:
        """The audit log."""
        ...
