# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Refresh tokens: rotated at each use, replays found out (RFC 9700 §4.14)."""

from datetime import datetime, timedelta
from typing import Any

import attrs

from understudy.storage.connection import Connection
from understudy.storage.records import RefreshToken, Rotation, RotationOutcome
from understudy.storage.repository import Repository, rows

GRACE = timedelta(seconds=10)
"""How long a rotated token still answers, with its successor: two tabs of one client may refresh at once."""

_COLUMNS = "jti, uid, family_id, token_hash, issued_at, expires_at, rotated_at, replaced_by, revoked_at"
_INSERT = f"INSERT INTO refresh_tokens ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"


def plan_rotation(
    token: RefreshToken | None, successor: RefreshToken | None, fresh: RefreshToken, now: datetime, grace: timedelta
) -> Rotation:
    """What presenting *token* (already replaced by *successor*, if that is given) means; *fresh* would be its next."""
    if token is None or token.revoked_at is not None or token.expires_at <= now:
        return Rotation(RotationOutcome.REFUSED)
    if token.rotated_at is None:
        renewed = attrs.evolve(fresh, uid=token.uid, family_id=token.family_id)
        return Rotation(RotationOutcome.ROTATED, renewed)
    if successor is not None and successor.jti == fresh.jti:
        return Rotation(RotationOutcome.ROTATED, successor)  # this very request, whose first answer was lost
    unused = successor is not None and successor.revoked_at is None and successor.rotated_at is None
    if unused and now - token.rotated_at <= grace:
        return Rotation(RotationOutcome.REPEATED, successor)
    return Rotation(RotationOutcome.REPLAYED, token)


class TokenRepository(Repository):
    """Refresh tokens, known by the SHA-256 of what the client holds."""

    async def add(self, token: RefreshToken) -> None:
        """Store a token, the first of its family."""
        await self._count(f"{_INSERT} ON CONFLICT (jti) DO NOTHING", *_values(token))

    async def find(self, token_hash: bytes) -> RefreshToken | None:
        """The token with this hash, whatever its state."""
        row = await self._row(f"SELECT {_COLUMNS} FROM refresh_tokens WHERE token_hash = %s", token_hash)
        return RefreshToken(*row) if row else None

    async def rotate(
        self, token_hash: bytes, successor: RefreshToken, *, now: datetime, grace: timedelta = GRACE
    ) -> Rotation:
        """Replace the token by *successor* (which gets its user and family), once, however many ask at the same time.

        A second time within *grace* the first successor is answered again, as long as that was not used itself; else
        it is a replay, and the whole family is revoked before this returns.
        """

        async def work(connection: Connection[Any]) -> Rotation:
            found = await rows(
                connection, f"SELECT {_COLUMNS} FROM refresh_tokens WHERE token_hash = %s FOR UPDATE", token_hash
            )
            token = RefreshToken(*found[0]) if found else None
            replacement = None
            if token is not None and token.replaced_by is not None:
                found = await rows(
                    connection, f"SELECT {_COLUMNS} FROM refresh_tokens WHERE jti = %s", token.replaced_by
                )
                replacement = RefreshToken(*found[0]) if found else None
            rotation = plan_rotation(token, replacement, successor, now, grace)
            if token is None:
                return rotation
            if rotation.outcome is RotationOutcome.REPLAYED:
                await rows(
                    connection,
                    "UPDATE refresh_tokens SET revoked_at = %s WHERE family_id = %s AND revoked_at IS NULL",
                    now,
                    token.family_id,
                )
            elif rotation.outcome is RotationOutcome.ROTATED and replacement is None and rotation.token is not None:
                await rows(connection, _INSERT, *_values(rotation.token))
                await rows(
                    connection,
                    "UPDATE refresh_tokens SET rotated_at = %s, replaced_by = %s WHERE jti = %s",
                    now,
                    rotation.token.jti,
                    token.jti,
                )
            return rotation

        return await self._transact(work)

    async def revoke_family(self, family_id: str, *, now: datetime) -> int:
        """Revoke all tokens of one login; how many still counted."""
        return await self._count(
            "UPDATE refresh_tokens SET revoked_at = %s WHERE family_id = %s AND revoked_at IS NULL", now, family_id
        )

    async def revoke_user(self, uid: str, *, now: datetime) -> int:
        """Revoke all tokens of the user; how many still counted."""
        return await self._count(
            "UPDATE refresh_tokens SET revoked_at = %s WHERE uid = %s AND revoked_at IS NULL", now, uid
        )

    async def sweep(self, *, now: datetime) -> int:
        """Delete the expired ones; how many."""
        return await self._prune("refresh_tokens", "expires_at <= %s", now)


def _values(token: RefreshToken) -> tuple[object, ...]:
    return attrs.astuple(token, recurse=False)
