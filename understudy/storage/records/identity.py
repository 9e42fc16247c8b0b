"""People, and what they show for being who they are."""

from datetime import datetime, timedelta
from enum import StrEnum

import attrs


@attrs.frozen
class User:
    """A person with an account. ``token_version`` rises when all their access tokens must stop counting."""

    id: str
    email: str
    password_hash: str
    created_at: datetime
    name: str | None = None
    token_version: int = 0
    disabled_at: datetime | None = None


@attrs.frozen
class RefreshToken:
    """One refresh token, known only by its SHA-256. ``family_id`` is shared by all that were rotated from one login."""

    jti: str
    uid: str
    family_id: str
    token_hash: bytes
    issued_at: datetime
    expires_at: datetime
    rotated_at: datetime | None = None
    replaced_by: str | None = None
    revoked_at: datetime | None = None


class RotationOutcome(StrEnum):
    """What became of a request to rotate a refresh token."""

    ROTATED = "rotated"
    REPEATED = "repeated"
    REPLAYED = "replayed"
    REFUSED = "refused"


@attrs.frozen
class Rotation:
    """The answer to a rotation.

    ``token`` is the successor that now counts (``ROTATED``), the successor stored the first time (``REPEATED``: the
    same token came twice within the grace), the token that was replayed (``REPLAYED``: its family is revoked), or
    None (``REFUSED``: unknown, expired or revoked).
    """

    outcome: RotationOutcome
    token: RefreshToken | None = None


@attrs.frozen
class LockoutRule:
    """When failures lock: *limit* of them within *window*; for *first*, each time twice as long, up to *ceiling*."""

    limit: int
    window: timedelta
    first: timedelta
    ceiling: timedelta
