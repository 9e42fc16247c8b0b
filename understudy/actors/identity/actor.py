"""The actor that says who is asking."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar, Protocol

import attrs
import trio

from understudy.actors.audit.ports import Writer
from understudy.actors.clock import utc_now
from understudy.actors.errors import Unauthenticated
from understudy.actors.identity.accounts import Accounts
from understudy.actors.identity.cache import Standings, Verified
from understudy.actors.identity.keys import KeyRing
from understudy.actors.identity.messages import (
    IDENTITY,
    Authenticate,
    AuthenticateKey,
    CreateKey,
    KeyPrincipal,
    KeyView,
    ListKeys,
    Login,
    Logout,
    NewKey,
    Principal,
    Refresh,
    Register,
    RevokeKey,
    SignedIn,
    TokenPair,
)
from understudy.actors.identity.passwords import Passwords
from understudy.actors.identity.ports import AccountStore
from understudy.actors.identity.tokens import (
    AccessClaims,
    BadToken,
    TokenCodec,
    expired,
    from_seconds,
    token_hash,
)
from understudy.actors.lru import Lru
from understudy.actors.metrics.messages import METRICS, CacheUsed
from understudy.actors.serving import Server
from understudy.runtime import ChildSpec, Deferred, receive

MAX_AGE = 30.0
"""Seconds that an account's standing is believed without asking the database again."""
REMEMBERED = 20_000
"""How many verified tokens, and how many accounts, are remembered at most."""
TELL_METRICS_EVERY = 5.0


class IdentitySettings(Protocol):
    """What identity needs of the settings."""

    @property
    def jwt_secret(self) -> str:
        """Signs tokens."""
        ...

    @property
    def jwt_secret_prev(self) -> str | None:
        """Still verifies tokens."""
        ...

    @property
    def jwt_access_seconds(self) -> int:
        """How long an access token counts."""
        ...

    @property
    def jwt_refresh_seconds(self) -> int:
        """How long a refresh token counts."""
        ...

    @property
    def internal_api_key(self) -> str:
        """The secret of the first internal key; empty for none."""
        ...

    @property
    def password_min_length(self) -> int:
        """The shortest password that registration takes."""
        ...


@attrs.frozen
class _TellMetrics:
    """Timer: say how the caches did."""


class Identity(Server):
    """Accounts, tokens and keys.

    Nothing is trusted from before a crash: the caches start empty and the database is asked again.
    """

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(
        self,
        settings: IdentitySettings,
        store: AccountStore,
        writer: Writer,
        now: Callable[[], datetime] = utc_now,
        passwords: Callable[[], Passwords] = Passwords,
    ) -> None:
        self._store = store
        self._now = now
        self._codec = TokenCodec(
            settings.jwt_secret,
            settings.jwt_secret_prev,
            access_seconds=settings.jwt_access_seconds,
            refresh_seconds=settings.jwt_refresh_seconds,
        )
        self._keys = KeyRing(settings.internal_api_key, store.keys, now)
        self._verified: Lru[bytes, Verified] = Lru(REMEMBERED)
        self._standings = Standings(REMEMBERED, MAX_AGE)
        self._hits = self._misses = 0
        self._told_hits = self._told_misses = 0
        self._accounts = Accounts(
            store,
            writer,
            self._codec,
            passwords(),
            shortest_password=settings.password_min_length,
            now=now,
            version_seen=self._version_seen,
        )

    async def started(self) -> None:
        """Begin to report."""
        self.every(TELL_METRICS_EVERY, _TellMetrics())

    @receive
    def register(self, message: Register) -> Deferred[SignedIn]:
        """Make an account."""
        return self.answer(message, self._accounts.register, message)

    @receive
    def login(self, message: Login) -> Deferred[SignedIn]:
        """Sign in."""
        return self.answer(message, self._accounts.login, message)

    @receive
    def refresh(self, message: Refresh) -> Deferred[TokenPair]:
        """Rotate a refresh token."""
        return self.answer(message, self._accounts.refresh, message)

    @receive
    def logout(self, message: Logout) -> Deferred[None]:
        """Sign out everywhere."""
        return self.answer(message, self._logout, message)

    @receive
    def authenticate(self, message: Authenticate) -> Principal | Deferred[Principal]:
        """Whose access token this is: at once when the token and its owner are known, else by the database."""
        verified = self._verify(message.token)
        standing = self._standings.fresh(verified.claims.uid, trio.current_time())
        if standing is None:
            self._misses += 1
            return self.answer(message, self._look_up, verified)
        self._hits += 1
        return _admit(verified, standing.version, enabled=standing.enabled)

    @receive
    def authenticate_key(self, message: AuthenticateKey) -> KeyPrincipal | Deferred[KeyPrincipal]:
        """Whose internal key this is: at once when it is known, else by the database."""
        holder = self._keys.at_hand(message.key)
        if holder is None:
            return self.answer(message, self._find_key, message.key)
        return self._used(holder)

    @receive
    def create_key(self, message: CreateKey) -> Deferred[NewKey]:
        """Make an internal key."""
        return self.answer(message, self._keys.create, message)

    @receive
    def list_keys(self, message: ListKeys) -> Deferred[tuple[KeyView, ...]]:
        """Every internal key."""
        return self.answer(message, self._keys.list)

    @receive
    def revoke_key(self, message: RevokeKey) -> Deferred[None]:
        """End an internal key."""
        return self.answer(message, self._keys.revoke, message)

    @receive
    def tell_metrics(self, message: _TellMetrics) -> None:
        """Report the look-ups since the last time, if any."""
        hits, misses = self._hits - self._told_hits, self._misses - self._told_misses
        if hits or misses:
            self._told_hits, self._told_misses = self._hits, self._misses
            self.system.tell(METRICS, CacheUsed("tokens", hits, misses))

    def snapshot(self) -> Mapping[str, object]:
        """How much is remembered, and what it saved."""
        return {
            "verified_tokens": len(self._verified),
            "known_accounts": len(self._standings),
            "hits": self._hits,
            "misses": self._misses,
        }

    def _verify(self, token: str) -> Verified:
        """The token's claims, checked by signature or by having been checked before; raises `Unauthenticated`."""
        digest = token_hash(token)
        now = self._now()
        verified = self._verified.get(digest)
        if verified is not None:
            if not expired(verified.claims, now):
                return verified
            self._verified.forget(digest)
        try:
            claims = self._codec.read_access(token, now)
        except BadToken as bad:
            raise Unauthenticated(f"the access token does not count: {bad}") from bad
        verified = Verified(claims, _principal(claims))
        self._verified.put(digest, verified)
        return verified

    async def _look_up(self, verified: Verified) -> Principal:
        uid = verified.claims.uid
        user = await self._store.users.by_id(uid)
        enabled = user is not None and user.disabled_at is None
        version = user.token_version if user is not None else 0
        standing = self._standings.observe(uid, version, enabled=enabled, now=trio.current_time())
        return _admit(verified, standing.version, enabled=standing.enabled)

    async def _find_key(self, secret: str) -> KeyPrincipal:
        return self._used(await self._keys.look_up(secret))

    def _used(self, holder: KeyPrincipal) -> KeyPrincipal:
        if holder.id is not None and self._keys.due(holder):
            self.work(self._keys.note, holder.id, name="note a key's use")
        return holder

    async def _logout(self, message: Logout) -> None:
        await self._accounts.logout(await self._caller(message))

    async def _caller(self, message: Logout) -> str:
        if message.access_token is not None:
            try:
                return (await self._look_up(self._verify(message.access_token))).uid
            except Unauthenticated:
                if message.refresh_token is None:
                    raise
        if message.refresh_token is None:
            raise Unauthenticated("neither an access token nor a refresh token was given")
        return await self._accounts.owner_of_refresh(message.refresh_token)

    def _version_seen(self, uid: str, version: int) -> None:
        self._standings.observe(uid, version, enabled=True, now=trio.current_time())


def identity_spec(
    settings: IdentitySettings,
    store: AccountStore,
    writer: Writer,
    *,
    now: Callable[[], datetime] = utc_now,
    passwords: Callable[[], Passwords] = Passwords,
) -> ChildSpec:
    """The child at `IDENTITY`: it lives as long as the node."""
    return ChildSpec(IDENTITY, Identity, args=(settings, store, writer, now, passwords))


def _principal(claims: AccessClaims) -> Principal:
    return Principal(claims.uid, claims.jti, from_seconds(claims.issued_at), from_seconds(claims.expires_at))


def _admit(verified: Verified, version: int, *, enabled: bool) -> Principal:
    if not enabled or verified.claims.version < version:
        raise Unauthenticated("the access token does not count: revoked")
    return verified.principal
