"""What can be asked of identity, and what it answers.

One actor keeps the accounts and their tokens. Nothing in here is ever logged with its values: passwords and tokens are
left out of each ``repr``.
"""

from datetime import datetime
from enum import StrEnum

import attrs

from understudy.runtime import Ask

IDENTITY = "identity"
"""The address of the one identity actor."""


@attrs.frozen
class UserView:
    """What others may see of an account."""

    id: str
    email: str
    name: str | None
    created_at: datetime


@attrs.frozen
class Client:
    """Where a request to sign in came from: what lockout counts by, and what the audit log keeps."""

    ip: str
    user_agent: str = ""
    request_id: str | None = None


@attrs.frozen
class SignedIn:
    """An account with a fresh pair of tokens, and its own workspace (None when it no longer has one)."""

    user: UserView
    access_token: str = attrs.field(repr=False)
    refresh_token: str = attrs.field(repr=False)
    workspace_id: str | None


@attrs.frozen
class TokenPair:
    """A new access token and the refresh token that replaces the one that was spent."""

    access_token: str = attrs.field(repr=False)
    refresh_token: str = attrs.field(repr=False)


@attrs.frozen
class Register(Ask[SignedIn]):
    """Make an account with its personal workspace, and sign it in; both exist when it is answered, or neither.

    Refused with `Invalid` (each wrong field in ``details``), `Conflict` (the e-mail is taken), `RateLimited` (too many
    attempts from this address), `Unavailable`.
    """

    email: str
    password: str = attrs.field(repr=False)
    client: Client
    name: str | None = None


@attrs.frozen
class Login(Ask[SignedIn]):
    """Sign in with a password.

    Refused with `Unauthenticated` (one message, and the same time taken, whether the user is unknown, disabled or the
    password wrong), `RateLimited` (locked out; ``retry_after`` says for how long), `Unavailable`.
    """

    email: str
    password: str = attrs.field(repr=False)
    client: Client


@attrs.frozen
class Refresh(Ask[TokenPair]):
    """Spend a refresh token for a new pair. The same token within ten seconds of its first use gets the same pair.

    Refused with `TokenReplay` (it had been spent before: all tokens of its family are revoked), `Unauthenticated`
    (expired, revoked, forged, or an access token), `Unavailable`.
    """

    refresh_token: str = attrs.field(repr=False)
    client: Client


@attrs.frozen
class Logout(Ask[None]):
    """Revoke every refresh token of the caller, and end their access tokens at once.

    Either token proves who the caller is. Refused with `Unauthenticated` when neither does, `Unavailable`.
    """

    access_token: str | None = attrs.field(default=None, repr=False)
    refresh_token: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Principal:
    """The user an access token speaks for."""

    uid: str
    jti: str
    issued_at: datetime
    expires_at: datetime


@attrs.frozen
class Authenticate(Ask[Principal]):
    """Whose access token this is. Microseconds for a token seen in the last 30 s, else one read of the database.

    Refused with `Unauthenticated` (expired, forged, revoked, or a refresh token), `Unavailable`.
    """

    token: str = attrs.field(repr=False)


class KeyScope(StrEnum):
    """What an internal key may be good for."""

    ALL = "*"
    """Everything, also what comes later."""
    ADMIN_READ = "admin:read"
    """Agents, users' use and sessions, the list of keys."""
    ADMIN_WRITE = "admin:write"
    """Making and revoking keys, and acting on actors."""
    DIAGNOSTICS = "diagnostics"
    """Checks, circuit breakers and the actor tree."""
    AUTONOMOUS = "autonomous"
    """Running agents on behalf of any user."""
    AUDIT = "audit"
    """The audit log of everybody."""
    METRICS = "metrics"
    """What was spent, in the node's numbers."""


@attrs.frozen
class KeyPrincipal:
    """The holder of an internal key: its name, and what it may do. ``id`` is None for the key of the settings."""

    name: str
    scopes: tuple[str, ...]
    id: str | None = None

    def allows(self, scope: str) -> bool:
        """Whether the key is good for *scope*."""
        return KeyScope.ALL in self.scopes or scope in self.scopes


@attrs.frozen
class AuthenticateKey(Ask[KeyPrincipal]):
    """Whose internal key this is. Does not block for a key seen in the last 5 s, else one read of the database.

    Refused with `Unauthenticated` (no such key, revoked, run out), `Unavailable` (no internal key is configured).
    """

    key: str = attrs.field(repr=False)


@attrs.frozen
class KeyView:
    """What may be seen of a key. That of the settings has no ``id`` and no times, and is changed in the settings."""

    id: str | None
    name: str
    scopes: tuple[str, ...]
    created_by: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


@attrs.frozen
class NewKey:
    """A key that was made, and its secret, which nobody will ever see again."""

    key: KeyView
    secret: str = attrs.field(repr=False)


@attrs.frozen
class CreateKey(Ask[NewKey]):
    """Make a key that is good for ``scopes``, all of which the holder of the key ``by`` has.

    Refused with `Invalid` (it would have run out already), `Forbidden` (more than ``by`` may), `Conflict` (a key that
    counts has the name; there are too many), `Unavailable`.
    """

    by: KeyPrincipal
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None = None
    request_id: str | None = None


@attrs.frozen
class ListKeys(Ask[tuple[KeyView, ...]]):
    """Every key, newest first, those that were revoked behind the others. Refused with `Unavailable`."""


@attrs.frozen
class RevokeKey(Ask[None]):
    """Let a key open nothing from now on; revoked once, it stays so.

    Refused with `NotFound`, `Forbidden` (it may more than ``by``), `Unavailable`.
    """

    by: KeyPrincipal
    key_id: str
    request_id: str | None = None
