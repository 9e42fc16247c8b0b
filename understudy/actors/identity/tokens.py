"""Access and refresh tokens: HS256 JWTs.

    access    uid  sub  iat  exp  jti  ver             ver: the user's token version; a lower one no longer counts
    refresh   uid  sub  iat  exp  jti  family  type    type: "refresh"; an access token has no ``type``

Signed with the current secret, verified with it and then with the previous one. A refresh token is a pure function of
its row in the database and the secret, and the access token given with it a function of that row and the user's token
version: so the same pair can be given twice (to two refreshes that race) though only a hash is ever stored.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

import attrs
import jwt

from understudy.storage.records import RefreshToken

ALGORITHM = "HS256"
LEEWAY = 30
"""Seconds that two clocks may differ."""
LONGEST = 4096
"""Characters of the longest token that is looked at."""

_END_OF_TIME = int(datetime.max.replace(tzinfo=UTC).timestamp())


class BadToken(Exception):
    """The token does not count; the message says why, without quoting it."""


@attrs.frozen
class AccessClaims:
    """What a valid access token says. Times are in seconds since the epoch."""

    uid: str
    jti: str
    version: int
    issued_at: int
    expires_at: int


@attrs.frozen
class RefreshClaims:
    """What a valid refresh token says."""

    uid: str
    jti: str
    family: str


def token_hash(token: str) -> bytes:
    """The SHA-256 of a token: all that is stored of it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class TokenCodec:
    """Signs and verifies both kinds of token; neither stands in for the other.

    Args:
        secret: signs, and is tried first.
        previous: tried second, so that a secret can be replaced without signing everybody out.
        access_seconds: how long an access token counts.
        refresh_seconds: how long a refresh token counts.
    """

    def __init__(self, secret: str, previous: str | None, *, access_seconds: int, refresh_seconds: int) -> None:
        if not secret:
            raise ValueError("a token secret must not be empty: anybody could sign with it")
        self._secret = secret
        self._accepted = (secret,) if not previous else (secret, previous)
        self._access_seconds = access_seconds
        self._refresh_lifetime = timedelta(seconds=refresh_seconds)

    def new_refresh(self, uid: str, family: str, jti: str, now: datetime) -> RefreshToken:
        """The row of a refresh token that begins *now*, with the hash of the token that `refresh_token` makes of it."""
        issued_at = now.replace(microsecond=0)  # what a JWT can hold: the row must be enough to make the token again
        row = RefreshToken(
            jti=jti,
            uid=uid,
            family_id=family,
            token_hash=b"",
            issued_at=issued_at,
            expires_at=issued_at + self._refresh_lifetime,
        )
        return attrs.evolve(row, token_hash=token_hash(self.refresh_token(row)))

    def refresh_token(self, row: RefreshToken) -> str:
        """The refresh token of a row; the same whenever it is asked for."""
        return self._sign(
            {
                "uid": row.uid,
                "sub": row.uid,
                "type": "refresh",
                "iat": _seconds(row.issued_at),
                "exp": _seconds(row.expires_at),
                "jti": row.jti,
                "family": row.family_id,
            }
        )

    def access_token(self, row: RefreshToken, version: int) -> str:
        """The access token that goes with a refresh token, for a user at this token version."""
        issued_at = _seconds(row.issued_at)
        digest = hashlib.sha256(b"access:" + row.jti.encode()).digest()
        return self._sign(
            {
                "uid": row.uid,
                "sub": row.uid,
                "iat": issued_at,
                "exp": issued_at + self._access_seconds,
                "jti": "acc_" + urlsafe_b64encode(digest[:16]).decode().rstrip("="),
                "ver": version,
            }
        )

    def read_access(self, token: str, now: datetime) -> AccessClaims:
        """What an access token says, once its signature, kind and times are found good; else raises `BadToken`."""
        claims = self._verify(token, now)
        if "type" in claims:
            raise BadToken("not an access token")
        version = claims.get("ver")
        if not _is_integer(version):
            raise BadToken("a claim is missing")
        return AccessClaims(
            uid=claims["uid"],
            jti=claims["jti"],
            version=version,
            issued_at=int(claims["iat"]),
            expires_at=int(claims["exp"]),
        )

    def read_refresh(self, token: str, now: datetime) -> RefreshClaims:
        """What a refresh token says; raises `BadToken` as `read_access` does. Revoked ones look the same here."""
        claims = self._verify(token, now)
        if claims.get("type") != "refresh":
            raise BadToken("not a refresh token")
        if not isinstance(claims.get("family"), str):
            raise BadToken("a claim is missing")
        return RefreshClaims(uid=claims["uid"], jti=claims["jti"], family=claims["family"])

    def _sign(self, claims: Mapping[str, Any]) -> str:
        return jwt.encode(dict(claims), self._secret, algorithm=ALGORITHM)

    def _verify(self, token: str, now: datetime) -> dict[str, Any]:
        if len(token) > LONGEST or not token.isascii():
            raise BadToken("malformed")
        claims = self._open(token)
        if not (
            isinstance(claims["sub"], str) and isinstance(claims["jti"], str) and claims.get("uid") == claims["sub"]
        ):
            raise BadToken("a claim is missing")
        if not (_is_time(claims["iat"]) and _is_time(claims["exp"])):
            raise BadToken("a claim is missing")
        # Compared here and not by pyjwt, which reads the machine's clock: ours is handed in.
        seconds = now.timestamp()
        if claims["exp"] + LEEWAY <= seconds:
            raise BadToken("expired")
        if claims["iat"] - LEEWAY > seconds:
            raise BadToken("not valid yet")
        return claims

    def _open(self, token: str) -> dict[str, Any]:
        for secret in self._accepted:
            try:
                return jwt.decode(
                    token,
                    secret,
                    algorithms=[ALGORITHM],  # pinned: what the token's own header asks for is never followed
                    options={
                        "require": ["sub", "jti", "iat", "exp"],
                        "verify_exp": False,
                        "verify_iat": False,
                        "verify_nbf": False,
                        "verify_aud": False,
                    },
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidTokenError as error:
                raise BadToken("malformed") from error
        raise BadToken("the signature is wrong")


def expired(claims: AccessClaims, now: datetime) -> bool:
    """Whether the token has run out since it was verified."""
    return claims.expires_at + LEEWAY <= now.timestamp()


def from_seconds(seconds: int) -> datetime:
    """The time that a claim in seconds since the epoch means."""
    return datetime.fromtimestamp(seconds, UTC)


def _seconds(time: datetime) -> int:
    return int(time.timestamp())


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_time(value: object) -> bool:
    return _is_integer(value) and 0 <= value < _END_OF_TIME
