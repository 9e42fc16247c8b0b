"""Internal keys: named, scoped, kept only as hashes."""

import hashlib
import hmac
from collections.abc import Iterable

import attrs

from understudy.actors.identity.messages import KeyPrincipal


@attrs.frozen
class InternalKey:
    """One key: who holds it, what it may do, and the SHA-256 of the secret."""

    name: str
    scopes: tuple[str, ...]
    digest: bytes = attrs.field(repr=False)

    @classmethod
    def of(cls, name: str, secret: str, scopes: tuple[str, ...] = ("all",)) -> "InternalKey":
        """The key whose secret is *secret*."""
        return cls(name, scopes, _digest(secret))


class KeyRing:
    """The internal keys of this node."""

    def __init__(self, keys: Iterable[InternalKey]) -> None:
        self._keys = tuple(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, secret: str) -> KeyPrincipal | None:
        """Who holds this secret. Takes the same time whichever key it is, and whether it is one."""
        digest = _digest(secret)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = KeyPrincipal(key.name, key.scopes)
        return found


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
