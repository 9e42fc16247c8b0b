"""Accounts and their tokens: what registration, login, refresh and logout do, apart from any actor."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, assert_never

from understudy.actors.audit.ports import Writer
from understudy.actors.errors import Conflict, TokenReplay, Unauthenticated
from understudy.actors.identity.lockout import LoginGuard
from understudy.actors.identity.messages import (
    Client,
    Login,
    Refresh,
    Register,
    SignedIn,
    TokenPair,
    UserView,
)
from understudy.actors.identity.passwords import Passwords
from understudy.actors.identity.ports import AccountStore
from understudy.actors.identity.tokens import BadToken, RefreshClaims, TokenCodec, token_hash
from understudy.actors.identity.validation import (
    LONGEST_PASSWORD,
    check_registration,
    is_email,
    normalized_email,
)
from understudy.storage.entries import Audited
from understudy.storage.errors import StoreConflict
from understudy.storage.records import (
    AuditEntry,
    RefreshToken,
    RotationOutcome,
    User,
    Workspace,
    new_id,
)

VersionSeen = Callable[[str, int], None]
"""Called with a user's id and new token version, before anybody is answered."""


class Accounts:
    """The accounts of the node.

    Every method may raise `StoreUnavailable`; being cancelled leaves each account as it was or as it should be.
    """

    def __init__(
        self,
        store: AccountStore,
        writer: Writer,
        codec: TokenCodec,
        passwords: Passwords,
        *,
        shortest_password: int,
        now: Callable[[], datetime],
        version_seen: VersionSeen,
    ) -> None:
        self._store = store
        self._writer = writer
        self._codec = codec
        self._passwords = passwords
        self._shortest_password = shortest_password
        self._now = now
        self._version_seen = version_seen
        self._guard = LoginGuard(store.lockouts, now)

    async def register(self, message: Register) -> SignedIn:
        """Make the account and its workspace, and sign in."""
        check_registration(message.email, message.password, message.name, shortest_password=self._shortest_password)
        now = self._now()
        user = User(
            id=new_id("usr"),
            email=normalized_email(message.email),
            password_hash=await self._passwords.hash(message.password),
            created_at=now,
            name=message.name,
        )
        workspace = Workspace(id=new_id("ws"), name="Personal", owner_id=user.id, plan="personal", created_at=now)
        try:
            await self._store.users.create(user, workspace)
        except StoreConflict as conflict:
            raise Conflict("this e-mail address is registered already") from conflict
        return await self._sign_in(user, workspace.id, message.client, "user.registered")

    async def login(self, message: Login) -> SignedIn:
        """Sign in with a password, unless too many were wrong of late."""
        email = normalized_email(message.email) if is_email(message.email) else ""
        # Longer passwords exist for no account; cut, so that their length buys no time in the hasher.
        password = message.password[:LONGEST_PASSWORD]
        async with self._guard.attempt(email, message.client.ip) as attempt:
            user = await self._store.users.by_email(email)
            if user is not None and user.disabled_at is not None:
                user = None
            stored = None if user is None else user.password_hash
            right = await self._passwords.verify(stored, password) and len(message.password) <= LONGEST_PASSWORD
            if user is None or not right:
                locked = await attempt.failed()
                if locked:
                    await self._audit("security.lockout", "medium", message.client, metadata={"subjects": list(locked)})
                raise Unauthenticated("the e-mail address or the password is wrong")
            await attempt.succeeded()
        if self._passwords.outdated(user.password_hash):
            await self._store.users.set_password_hash(user.id, await self._passwords.hash(password))
        return await self._sign_in(user, await self._own_workspace(user.id), message.client, "user.signed_in")

    async def refresh(self, message: Refresh) -> TokenPair:
        """Spend a refresh token for a new pair; the same pair again for a moment, then an alarm."""
        now = self._now()
        claims = self._read_refresh(message.refresh_token)
        user = await self._store.users.by_id(claims.uid)
        if user is None or user.disabled_at is not None:
            raise _spent()
        successor = self._codec.new_refresh(user.id, claims.family, new_id("ref"), now)
        rotation = await self._store.tokens.rotate(token_hash(message.refresh_token), successor, now=now)
        match rotation.outcome:
            case RotationOutcome.ROTATED | RotationOutcome.REPEATED:
                return self._pair(rotation.token, user)
            case RotationOutcome.REPLAYED:
                await self._alarm(claims.uid, claims.family, message.client)
                raise TokenReplay("this refresh token was used before: all tokens of its sign-in are revoked")
            case RotationOutcome.REFUSED:
                raise _spent()
            case _:
                assert_never(rotation.outcome)

    async def logout(self, uid: str) -> None:
        """Revoke all refresh tokens of the user and end their access tokens."""
        tokens = self._store.tokens
        revoked = await _until_none_is_left(lambda: tokens.revoke_user(uid, now=self._now()))
        # The version last: a refresh that raced with us read the old one, so that what it signed ends here; one that
        # reads the new one comes too late to rotate anything. And who is cut off in between can sign out again.
        await self._end_access(uid)
        await self._audit("security.token_revoked", "medium", None, uid=uid, metadata={"tokens": revoked})

    async def owner_of_refresh(self, refresh_token: str) -> str:
        """The user whose live refresh token this is."""
        claims = self._read_refresh(refresh_token)
        row = await self._store.tokens.find(token_hash(refresh_token))
        if row is None or row.revoked_at is not None or row.rotated_at is not None:
            raise _spent()
        return claims.uid

    def _read_refresh(self, token: str) -> RefreshClaims:
        try:
            return self._codec.read_refresh(token, self._now())
        except BadToken as bad:
            raise Unauthenticated(f"the refresh token does not count: {bad}") from bad

    def _pair(self, row: RefreshToken | None, user: User) -> TokenPair:
        refresh_token = "" if row is None else self._codec.refresh_token(row)
        if row is None or token_hash(refresh_token) != row.token_hash:
            # Signed before the secret was replaced, within the grace: the first answer cannot be given again.
            raise _spent()
        return TokenPair(self._codec.access_token(row, user.token_version), refresh_token)

    async def _alarm(self, uid: str, family: str, client: Client) -> None:
        tokens = self._store.tokens
        await _until_none_is_left(lambda: tokens.revoke_family(family, now=self._now()))
        # The thief may hold access tokens of this family: they must not live out their quarter of an hour.
        await self._end_access(uid)
        await self._audit("security.token_replay", "critical", client, uid=uid, metadata={"family": family})

    async def _end_access(self, uid: str) -> None:
        version = await self._store.users.bump_token_version(uid)
        if version is not None:
            self._version_seen(uid, version)

    async def _sign_in(self, user: User, workspace_id: str | None, client: Client, event: str) -> SignedIn:
        row = self._codec.new_refresh(user.id, new_id("fam"), new_id("ref"), self._now())
        await self._store.tokens.add(row)
        await self._audit(event, "low", client, uid=user.id, workspace_id=workspace_id)
        return SignedIn(
            user=UserView(user.id, user.email, user.name, user.created_at),
            access_token=self._codec.access_token(row, user.token_version),
            refresh_token=self._codec.refresh_token(row),
            workspace_id=workspace_id,
        )

    async def _own_workspace(self, uid: str) -> str | None:
        memberships = await self._store.workspaces.memberships(uid)
        own = [m.workspace.id for m in memberships if m.workspace.owner_id == uid]
        return next(iter(own or [m.workspace.id for m in memberships]), None)

    async def _audit(
        self,
        event: str,
        severity: str,
        client: Client | None,
        *,
        uid: str | None = None,
        workspace_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        origin = {} if client is None else {"ip": client.ip, "userAgent": _printable(client.user_agent[:256])}
        entry = AuditEntry(
            id=new_id("aud"),
            event=event,
            severity=severity,
            created_at=self._now(),
            uid=uid,
            workspace_id=workspace_id,
            request_id=None if client is None else client.request_id,
            metadata={**origin, **(metadata or {})},
        )
        await self._writer.write(Audited(entry))


async def _until_none_is_left(revoke: Callable[[], Awaitable[int]]) -> int:
    """Revoke again and again until nothing was left to revoke; how many there were.

    One statement sees no row that a rotation is adding beside it: it waits for that rotation and then misses its
    successor. The next one finds it; and when one finds nothing, no rotation was under way.
    """
    total = 0
    while count := await revoke():
        total += count
    return total


def _spent() -> Unauthenticated:
    return Unauthenticated("the refresh token does not count: revoked or spent")


def _printable(text: str) -> str:
    """What a client calls itself, without anything that could not be stored or would spoil a terminal."""
    return "".join(char for char in text if char.isprintable())
