"""Internal keys: named, scoped, kept only as hashes."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import attrs
import trio

from understudy.actors.errors import Conflict, Detail, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from understudy.actors.identity.messages import (
    CreateKey,
    KeyPrincipal,
    KeyScope,
    KeyView,
    NewKey,
    RevokeKey,
)
from understudy.actors.identity.ports import KeyStore
from understudy.actors.lru import Lru
from understudy.storage.errors import StoreConflict, StoreUnavailable
from understudy.storage.oversight import InternalKey
from understudy.storage.records import AuditEntry, new_id

PREFIX = "usk_"
"""What the secrets of stored keys begin with; behind it are 256 random bits."""
FRESH = 5.0
"""Seconds that a key is believed without asking the database: another node may have revoked it."""
REMEMBERED = 1000
NOTE_EVERY = 60.0
"""Seconds between two notes of a key's last use."""

SEED = "internal"
"""The name of the key that the settings give."""


@attrs.frozen
class _Known:
    key: InternalKey
    read_at: float


class KeyRing:
    """The internal keys of the node: that of the settings, which may everything, and those of the database.

    The former is not stored and opens the door also while the database is away. Revoked here, a key opens nothing
    from that moment on; revoked by another node, after `FRESH` seconds.
    """

    def __init__(self, seed: str, store: KeyStore, now: Callable[[], datetime]) -> None:
        self._seed = _digest(seed) if seed else None
        self._store = store
        self._now = now
        self._known: Lru[bytes, _Known] = Lru(REMEMBERED)
        self._noted: Lru[str, float] = Lru(REMEMBERED)
        self._generation = 0

    def at_hand(self, secret: str) -> KeyPrincipal | None:
        """Who holds this secret, when that is known without the database. Digests are compared in constant time."""
        digest = _digest(secret)
        if self._seed is not None and hmac.compare_digest(self._seed, digest):
            return KeyPrincipal(SEED, (KeyScope.ALL,))
        known = self._known.get(digest)
        if known is None or trio.current_time() - known.read_at > FRESH or not known.key.counts(self._now()):
            return None
        return _principal(known.key)

    async def look_up(self, secret: str) -> KeyPrincipal:
        """Who holds this secret. Raises `Unauthenticated`; `Unavailable` when the node has no key at all."""
        digest, generation, read_at = _digest(secret), self._generation, trio.current_time()
        key = await self._store.find(digest) if secret.startswith(PREFIX) else None
        if key is not None and hmac.compare_digest(key.digest, digest) and key.counts(self._now()):
            # A read that was under way when a key was revoked may be from before: it is not kept.
            if generation == self._generation:
                self._known.put(digest, _Known(key, read_at))
            return _principal(key)
        if self._seed is None and not await self._store.any(self._now()):
            raise Unavailable("no internal key is configured")
        raise Unauthenticated("the internal key is not valid")

    def due(self, principal: KeyPrincipal) -> bool:
        """Whether it is time to note that the key was used; says so once in `NOTE_EVERY` seconds."""
        if principal.id is None:
            return False
        noted, now = self._noted.get(principal.id), trio.current_time()
        if noted is not None and now - noted < NOTE_EVERY:
            return False
        self._noted.put(principal.id, now)
        return True

    async def note(self, key_id: str) -> None:
        """Store when the key was used last; nothing is lost when the database is away but the note."""
        with suppress(StoreUnavailable):
            await self._store.used(key_id, self._now())

    async def create(self, message: CreateKey) -> NewKey:
        """Make a key. See `CreateKey`."""
        by, now = message.by, self._now()
        if message.expires_at is not None and message.expires_at <= now:
            raise Invalid("expiresAt: has passed already", details=(Detail("expiresAt", "in_the_past"),))
        _may_give(by, message.scopes)
        secret = PREFIX + secrets.token_urlsafe(32)
        key = InternalKey(
            new_id("key"), message.name, _digest(secret), message.scopes, by.name, now, expires_at=message.expires_at
        )
        audit = self._audit("key.created", by, key, message.request_id)
        try:
            await self._store.add(key, audit)
        except StoreConflict as conflict:
            if conflict.what == "key name":
                said = f"there is a key with the name {message.name!r}: revoke that one first"
                raise Conflict(said, details=(Detail("name", "taken"),)) from conflict
            raise Conflict("there are as many keys as there may be: revoke one first") from conflict
        return NewKey(_view(key), secret)

    async def list(self) -> tuple[KeyView, ...]:
        """Every key that is stored, and before them that of the settings."""
        stored = tuple(_view(key) for key in await self._store.list())
        if self._seed is None:
            return stored
        return (KeyView(None, SEED, (KeyScope.ALL,), "the settings"), *stored)

    async def revoke(self, message: RevokeKey) -> None:
        """End a key. See `RevokeKey`."""
        key = await self._store.get(message.key_id)
        if key is None:
            raise NotFound("there is no such key")
        _may_give(message.by, key.scopes)
        audit = self._audit("key.revoked", message.by, key, message.request_id)
        try:
            await self._store.revoke(key.id, audit, now=self._now())
        finally:
            # Whatever became of it: an answer that was lost may have been yes.
            self._generation += 1
            self._known.forget(key.digest)

    def _audit(self, event: str, by: KeyPrincipal, key: InternalKey, request_id: str | None) -> AuditEntry:
        about = {"key": by.name, "of": key.name, "id": key.id, "scopes": list(key.scopes)}
        return AuditEntry(new_id("aud"), event, "medium", self._now(), request_id=request_id, metadata=about)


def _may_give(by: KeyPrincipal, scopes: tuple[str, ...]) -> None:
    """Raise `Forbidden` unless the holder has all the scopes: nobody hands on, or takes away, more than they have."""
    beyond = [scope for scope in scopes if not by.allows(scope)]
    if beyond:
        raise Forbidden(f"your key has not the scope {', '.join(beyond)}, which that one has")


def _principal(key: InternalKey) -> KeyPrincipal:
    return KeyPrincipal(key.name, key.scopes, key.id)


def _view(key: InternalKey) -> KeyView:
    return KeyView(
        id=key.id,
        name=key.name,
        scopes=key.scopes,
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
