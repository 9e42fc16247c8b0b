"""What can be asked of identity, and what it answers.

One actor keeps the accounts and their tokens. Nothing in here is ever logged with its values: passwords and tokens are
left out of each ``repr``.
"""

from datetime import datetime

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


@attrs.frozen
class KeyPrincipal:
    """The holder of an internal key: its name, and what it may do (``all``: everything)."""

    name: str
    scopes: tuple[str, ...]


@attrs.frozen
class AuthenticateKey(Ask[KeyPrincipal]):
    """Whose internal key this is. Does not block.

    Refused with `Unauthenticated` (no such key), `Unavailable` (no internal key is configured).
    """

    key: str = attrs.field(repr=False)
