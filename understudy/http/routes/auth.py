"""`/auth`: accounts and tokens."""

from quart import Blueprint

from understudy.actors.identity.messages import (
    IDENTITY,
    Client,
    Login,
    Logout,
    Refresh,
    Register,
)
from understudy.actors.identity.messages import SignedIn as Account
from understudy.actors.limits.messages import Bucket
from understudy.http import examples, schemas
from understudy.http.access import bearer, limited
from understudy.http.decode import body, optional_body
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import ApiRequest, this_request

routes = Blueprint("auth", __name__, url_prefix="/auth")

PATIENCE = 15.0
"""Seconds for a password to be hashed when many are at once."""


@routes.post("/register")
@operation(
    "register",
    Auth.PUBLIC,
    body=schemas.Registration,
    replies={201: schemas.SignedIn},
    reply_example=examples.SIGNED_IN,
    errors=("CONFLICT", "RATE_LIMIT"),
    example={"email": "mira@example.org", "password": "correct horse"},
)
async def register() -> Reply:
    """Create an account.

    A personal workspace is made with it, so that the new user can chat at once.
    """
    request = this_request()
    await _limit(request)
    given = body(request, schemas.Registration)
    message = Register(given.email, given.password, _client(request), given.name)
    return json(_signed_in(await request.node.ask(IDENTITY, message, timeout=PATIENCE)), 201)


@routes.post("/login")
@operation(
    "login",
    Auth.PUBLIC,
    body=schemas.Credentials,
    replies={200: schemas.SignedIn},
    reply_example=examples.SIGNED_IN,
    errors=("UNAUTHENTICATED", "RATE_LIMIT"),
    example={"email": "mira@example.org", "password": "correct horse"},
)
async def login() -> Reply:
    """Sign in with e-mail and password."""
    request = this_request()
    await _limit(request)
    given = body(request, schemas.Credentials)
    message = Login(given.email, given.password, _client(request))
    return json(_signed_in(await request.node.ask(IDENTITY, message, timeout=PATIENCE)))


@routes.post("/refresh")
@operation(
    "refresh",
    Auth.PUBLIC,
    body=schemas.RefreshRequest,
    example={"refreshToken": "rt_5qd0b1aX"},
    replies={200: schemas.Tokens},
    reply_example=examples.TOKENS,
    errors=("UNAUTHENTICATED", "TOKEN_REPLAY", "RATE_LIMIT"),
)
async def refresh() -> Reply:
    """Spend a refresh token for a new pair.

    A token that was spent before revokes its whole family, except within ten seconds of its first use.
    """
    request = this_request()
    await _limit(request)
    given = body(request, schemas.RefreshRequest)
    pair = await request.node.ask(IDENTITY, Refresh(given.refresh_token, _client(request)))
    return json(schemas.Tokens(access_token=pair.access_token, refresh_token=pair.refresh_token))


@routes.post("/logout")
@operation(
    "logout",
    Auth.PUBLIC,
    body=schemas.LogoutRequest,
    example={"refreshToken": "rt_5qd0b1aX"},
    replies={200: schemas.Ok},
    reply_example=examples.OK,
    errors=("UNAUTHENTICATED",),
)
async def logout() -> Reply:
    """Revoke all tokens of the caller.

    Either the access token in the header or a refresh token in the body says who that is.
    """
    request = this_request()
    given = optional_body(request, schemas.LogoutRequest)
    await request.node.ask(IDENTITY, Logout(bearer(request), given.refresh_token))
    return json(schemas.Ok())


async def _limit(request: ApiRequest) -> None:
    await limited(request, Bucket("address", request.client_address))


def _client(request: ApiRequest) -> Client:
    return Client(request.client_address, request.headers.get("User-Agent", "")[:512], request.id)


def _signed_in(account: Account) -> schemas.SignedIn:
    user = account.user
    return schemas.SignedIn(
        user=schemas.User(id=user.id, email=user.email, name=user.name, created_at=user.created_at),
        access_token=account.access_token,
        refresh_token=account.refresh_token,
        workspace_id=account.workspace_id,
    )
