"""What identity needs of the storage, and no more. Every method may raise `StoreUnavailable`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from understudy.storage.oversight import InternalKey
from understudy.storage.records import AuditEntry, LockoutRule, Membership, RefreshToken, Rotation, User, Workspace


class Users(Protocol):
    """The accounts."""

    async def create(self, user: User, workspace: Workspace) -> None:
        """Add the user, the workspace and the ownership in one transaction; `StoreConflict` for a taken e-mail."""
        ...

    async def by_id(self, uid: str) -> User | None:
        """The account with this id."""
        ...

    async def by_email(self, email: str) -> User | None:
        """The account with this e-mail, whatever its case."""
        ...

    async def bump_token_version(self, uid: str) -> int | None:
        """Raise the user's token version; the new one, or None without such a user."""
        ...

    async def set_password_hash(self, uid: str, password_hash: str) -> None:
        """Replace the stored hash."""
        ...


class Tokens(Protocol):
    """The refresh tokens, known by their hashes."""

    async def add(self, token: RefreshToken) -> None:
        """Store a token."""
        ...

    async def find(self, token_hash: bytes) -> RefreshToken | None:
        """The token with this hash."""
        ...

    async def rotate(
        self, token_hash: bytes, successor: RefreshToken, *, now: datetime, grace: timedelta = ...
    ) -> Rotation:
        """Spend one token for another, atomically: of two that race one rotates, the other repeats."""
        ...

    async def revoke_family(self, family_id: str, *, now: datetime) -> int:
        """Revoke all that were rotated from one login; how many."""
        ...

    async def revoke_user(self, uid: str, *, now: datetime) -> int:
        """Revoke all of a user's tokens; how many."""
        ...


class Lockouts(Protocol):
    """Failures to sign in, counted by subject."""

    async def locked_until(self, subjects: Sequence[str], *, now: datetime) -> datetime | None:
        """The end of the latest lock in force on any of the subjects."""
        ...

    async def fail(self, subject: str, rule: LockoutRule, *, now: datetime) -> datetime | None:
        """Count one failure; the end of the lock when the subject is locked by it."""
        ...

    async def clear(self, subject: str) -> None:
        """Forget the subject's failures."""
        ...


class Memberships(Protocol):
    """Which workspaces users belong to."""

    async def memberships(self, uid: str) -> tuple[Membership, ...]:
        """The user's memberships, oldest first."""
        ...


class KeyStore(Protocol):
    """The internal keys, known by their hashes."""

    async def find(self, digest: bytes) -> InternalKey | None:
        """The key whose secret has this SHA-256."""
        ...

    async def get(self, key_id: str) -> InternalKey | None:
        """The key with this id."""
        ...

    async def any(self, now: datetime) -> bool:
        """Whether there is a key that counts."""
        ...

    async def list(self) -> tuple[InternalKey, ...]:
        """The keys, newest first, those that were revoked behind the others."""
        ...

    async def add(self, key: InternalKey, audit: AuditEntry) -> None:
        """Store a key. Raises `StoreConflict` (``key name``, ``number of keys``)."""
        ...

    async def revoke(self, key_id: str, audit: AuditEntry, *, now: datetime) -> InternalKey | None:
        """Make a key open nothing any more."""
        ...

    async def used(self, key_id: str, at: datetime) -> None:
        """Note that the key opened something."""
        ...


class AccountStore(Protocol):
    """They together."""

    @property
    def users(self) -> Users:
        """The accounts."""
        ...

    @property
    def tokens(self) -> Tokens:
        """The refresh tokens."""
        ...

    @property
    def lockouts(self) -> Lockouts:
        """The failures to sign in."""
        ...

    @property
    def workspaces(self) -> Memberships:
        """The memberships."""
        ...

    @property
    def keys(self) -> KeyStore:
        """The internal keys."""
        ...
