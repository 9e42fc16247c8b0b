"""Users, tokens and lockouts in memory."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs

from understudy.storage.errors import StoreConflict
from understudy.storage.lockouts import after_failure
from understudy.storage.memory.tables import Tables
from understudy.storage.records import (
    LockoutRule,
    RefreshToken,
    Rotation,
    RotationOutcome,
    User,
    Workspace,
    WorkspaceRole,
)
from understudy.storage.tokens import GRACE, plan_rotation


class MemoryUsers:
    """See `understudy.storage.users.UserRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def create(self, user: User, workspace: Workspace) -> None:
        """As the real one."""
        self._tables.check()
        user = attrs.evolve(user, email=user.email.lower())
        known = self._tables.users.get(user.id)
        if known is not None and known.email == user.email:
            return
        if any(other.email == user.email for other in self._tables.users.values()):
            raise StoreConflict("email")
        self._tables.users[user.id] = user
        self._tables.workspaces[workspace.id] = attrs.evolve(workspace, owner_id=user.id)
        self._tables.members[workspace.id, user.id] = (WorkspaceRole.OWNER, workspace.created_at)

    async def by_id(self, uid: str) -> User | None:
        """As the real one."""
        self._tables.check()
        return self._tables.users.get(uid)

    async def by_email(self, email: str) -> User | None:
        """As the real one."""
        self._tables.check()
        return next((user for user in self._tables.users.values() if user.email == email.lower()), None)

    async def bump_token_version(self, uid: str) -> int | None:
        """As the real one."""
        self._tables.check()
        if (user := self._tables.users.get(uid)) is None:
            return None
        self._tables.users[uid] = attrs.evolve(user, token_version=user.token_version + 1)
        return user.token_version + 1

    async def set_password_hash(self, uid: str, password_hash: str) -> None:
        """As the real one."""
        self._tables.check()
        if (user := self._tables.users.get(uid)) is not None:
            self._tables.users[uid] = attrs.evolve(user, password_hash=password_hash)


class MemoryTokens:
    """See `understudy.storage.tokens.TokenRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, token: RefreshToken) -> None:
        """As the real one."""
        self._tables.check()
        self._tables.tokens.setdefault(token.token_hash, token)

    async def find(self, token_hash: bytes) -> RefreshToken | None:
        """As the real one."""
        self._tables.check()
        return self._tables.tokens.get(token_hash)

    async def rotate(
        self, token_hash: bytes, successor: RefreshToken, *, now: datetime, grace: timedelta = GRACE
    ) -> Rotation:
        """As the real one."""
        self._tables.check()
        tokens = self._tables.tokens
        token = tokens.get(token_hash)
        replaced_by = token.replaced_by if token is not None else None
        replacement = next((other for other in tokens.values() if other.jti == replaced_by), None)
        rotation = plan_rotation(token, replacement, successor, now, grace)
        if token is not None and rotation.outcome is RotationOutcome.REPLAYED:
            await self.revoke_family(token.family_id, now=now)
        elif token is not None and rotation.outcome is RotationOutcome.ROTATED and replacement is None:
            fresh = rotation.token
            assert fresh is not None  # noqa: S101  # what plan_rotation promises of ROTATED
            tokens[fresh.token_hash] = fresh
            tokens[token_hash] = attrs.evolve(token, rotated_at=now, replaced_by=fresh.jti)
        return rotation

    async def revoke_family(self, family_id: str, *, now: datetime) -> int:
        """As the real one."""
        self._tables.check()
        return self._revoke([token for token in self._tables.tokens.values() if token.family_id == family_id], now)

    async def revoke_user(self, uid: str, *, now: datetime) -> int:
        """As the real one."""
        self._tables.check()
        return self._revoke([token for token in self._tables.tokens.values() if token.uid == uid], now)

    async def sweep(self, *, now: datetime) -> int:
        """As the real one."""
        self._tables.check()
        expired = [key for key, token in self._tables.tokens.items() if token.expires_at <= now]
        for key in expired:
            del self._tables.tokens[key]
        return len(expired)

    def _revoke(self, tokens: Sequence[RefreshToken], now: datetime) -> int:
        counted = [token for token in tokens if token.revoked_at is None]
        for token in counted:
            self._tables.tokens[token.token_hash] = attrs.evolve(token, revoked_at=now)
        return len(counted)


class MemoryLockouts:
    """See `understudy.storage.lockouts.LockoutRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def locked_until(self, subjects: Sequence[str], *, now: datetime) -> datetime | None:
        """As the real one."""
        self._tables.check()
        ends = [known.locked_until for subject in subjects if (known := self._tables.failures.get(subject))]
        return max((end for end in ends if end is not None and end > now), default=None)

    async def fail(self, subject: str, rule: LockoutRule, *, now: datetime) -> datetime | None:
        """As the real one."""
        self._tables.check()
        then = self._tables.failures[subject] = after_failure(self._tables.failures.get(subject), rule, now)
        return then.locked_until if then.locked_until is not None and then.locked_until > now else None

    async def clear(self, subject: str) -> None:
        """As the real one."""
        self._tables.check()
        self._tables.failures.pop(subject, None)

    async def sweep(self, *, before: datetime) -> int:
        """As the real one."""
        self._tables.check()
        old = [
            subject
            for subject, known in self._tables.failures.items()
            if known.last_failure < before and (known.locked_until is None or known.locked_until < before)
        ]
        for subject in old:
            del self._tables.failures[subject]
        return len(old)
