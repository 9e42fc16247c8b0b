# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Accounts."""

from typing import Any

from understudy.storage.connection import Connection
from understudy.storage.records import User, Workspace, WorkspaceRole
from understudy.storage.repository import Repository, Row, rows
from understudy.storage.tenancy import insert_member, insert_workspace

_COLUMNS = "id, email, password_hash, created_at, name, token_version, disabled_at"


class UserRepository(Repository):
    """Users, found by id or by e-mail address (without regard to case)."""

    async def create(self, user: User, workspace: Workspace) -> None:
        """Store *user*, their personal *workspace* and their ownership of it, all or nothing.

        Raises `StoreConflict` (``email``) when the address is taken.
        """

        async def work(connection: Connection[Any]) -> None:
            known = await rows(connection, "SELECT email FROM users WHERE id = %s", user.id)
            if known == [(user.email.lower(),)]:
                return  # our own first attempt, whose answer was lost
            await rows(
                connection,
                f"INSERT INTO users ({_COLUMNS}) VALUES (%s, lower(%s), %s, %s, %s, %s, %s)",
                user.id,
                user.email,
                user.password_hash,
                user.created_at,
                user.name,
                user.token_version,
                user.disabled_at,
            )
            await insert_workspace(connection, workspace)
            await insert_member(connection, workspace.id, user.id, WorkspaceRole.OWNER, workspace.created_at)

        await self._transact(work)

    async def by_id(self, uid: str) -> User | None:
        """The user with this id."""
        return _user(await self._row(f"SELECT {_COLUMNS} FROM users WHERE id = %s", uid))

    async def by_email(self, email: str) -> User | None:
        """The user with this address."""
        return _user(await self._row(f"SELECT {_COLUMNS} FROM users WHERE email = lower(%s)", email))

    async def bump_token_version(self, uid: str) -> int | None:
        """Make all access tokens of the user stop counting; the new version, or None when there is no such user."""
        row = await self._row(
            "UPDATE users SET token_version = token_version + 1 WHERE id = %s RETURNING token_version", uid
        )
        return row[0] if row else None

    async def set_password_hash(self, uid: str, password_hash: str) -> None:
        """Store a newer hash of the same password."""
        await self._count("UPDATE users SET password_hash = %s WHERE id = %s", password_hash, uid)


def _user(row: Row | None) -> User | None:
    return User(*row) if row else None
