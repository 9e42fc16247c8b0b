"""Who is asking, what they may, and how often: each is one question to the actor that knows."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import attrs
import structlog
import trio

from understudy.actors.audit.messages import AUDIT, Record, act_of_key
from understudy.actors.clock import utc_now
from understudy.actors.errors import DomainError, Forbidden, RateLimited, Unauthenticated
from understudy.actors.idempotency.messages import (
    IDEMPOTENCY,
    KEPT,
    Begin,
    Begun,
    Complete,
    Fresh,
    IdempotencyKey,
    Release,
    Stored,
)
from understudy.actors.identity.messages import (
    IDENTITY,
    Authenticate,
    AuthenticateKey,
    KeyPrincipal,
    KeyScope,
    Principal,
)
from understudy.actors.limits.messages import LIMITS, Bucket, Take
from understudy.actors.workspaces.messages import WORKSPACES, ResolveWorkspace, WorkspaceRole, WorkspaceView
from understudy.http.errors import STATUS, ApiError, invalid
from understudy.http.replies import Reply, json_bytes
from understudy.http.request import ApiRequest
from understudy.runtime import ActorCrashed, RuntimeFault

SETTLING = 5.0
"""Seconds in which the end of what had an idempotency key must be written."""
_PAUSE = 0.1

log = structlog.get_logger("understudy.http")

REPLAYED = (b"idempotency-replayed", b"true")


def bearer(request: ApiRequest) -> str | None:
    """The token of ``Authorization: Bearer``, or None when there is no such header."""
    header: str | None = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("The Authorization header is not a bearer token")
    return token.strip()


async def signed_in(request: ApiRequest) -> Principal:
    """The user whose access token the request carries. Raises `Unauthenticated` without a good one."""
    token = bearer(request)
    if token is None:
        raise ApiError("UNAUTHENTICATED", "This needs an access token", headers=((b"www-authenticate", b"Bearer"),))
    return await request.node.ask(IDENTITY, Authenticate(token))


async def user(request: ApiRequest) -> Principal:
    """The user who asks, if they do not ask too often."""
    principal = await signed_in(request)
    request.log_fields = {"uid": principal.uid}
    await limited(request, Bucket("user", principal.uid))
    return principal


@attrs.frozen
class Caller:
    """A user who acts in one workspace."""

    uid: str
    view: WorkspaceView

    @property
    def workspace_id(self) -> str:
        """The workspace's id."""
        return self.view.workspace.id

    @property
    def whose(self) -> str | None:
        """Whose things they may read, of what is each member's own: None for everybody's."""
        return self.view.whose(self.uid)


async def member(
    request: ApiRequest, needs: WorkspaceRole = WorkspaceRole.MEMBER, *, also: str | None = None
) -> Caller:
    """The user who asks, if their role in the workspace is enough and they do not ask too often.

    The workspace is the one that ``X-Workspace-Id`` names, or else the user's only one; actors are asked on its behalf
    from then on. *also* is a second limit, beside that of all requests.
    """
    principal = await signed_in(request)
    wanted = ResolveWorkspace(principal.uid, request.headers.get("X-Workspace-Id"), needs)
    caller = Caller(principal.uid, await request.node.ask(WORKSPACES, wanted))
    request.tenant = caller.workspace_id
    request.log_fields = {"uid": caller.uid, "workspace": caller.workspace_id}
    names = ("user",) if also is None else (also, "user")
    await limited(request, *(Bucket(name, caller.uid) for name in names))
    return caller


async def operator(request: ApiRequest, scope: KeyScope = KeyScope.ALL) -> KeyPrincipal:
    """The holder of the internal key in ``X-Api-Key``, which must be good for *scope*.

    Raises `Unauthenticated` without a good one, `Forbidden` for one that is good for something else.
    """
    key = request.headers.get("X-Api-Key")
    if not key:
        raise ApiError("UNAUTHENTICATED", "This needs the internal key", headers=((b"www-authenticate", b"ApiKey"),))
    try:
        holder = await request.node.ask(IDENTITY, AuthenticateKey(key))
    except Unauthenticated as refusal:
        raise ApiError("UNAUTHENTICATED", refusal.message, headers=((b"www-authenticate", b"ApiKey"),)) from None
    request.log_fields = {"key": holder.name}
    if not holder.allows(scope):
        raise Forbidden(f"This takes an internal key with the scope {scope.value}")
    return holder


def acted(request: ApiRequest, holder: KeyPrincipal, event: str, **about: object) -> None:
    """Leave a line in the audit log: the holder of an internal key has changed something."""
    line = act_of_key(event, holder.name, request_id=request.id, at=utc_now(), **about)
    request.node.tell(AUDIT, Record(line))


async def limited(request: ApiRequest, *buckets: Bucket) -> None:
    """Take one from each of *buckets*, or raise `RateLimited`. The answer's ``RateLimit-*`` say what is left."""
    allowance = await request.node.ask(LIMITS, Take(buckets))
    request.allowance = allowance
    if not allowance.allowed:
        raise RateLimited("Too many requests", retry_after=allowance.retry_after)


def idempotency_key(request: ApiRequest, who: str) -> IdempotencyKey | None:
    """The caller's promise that requests with this header are one; None without it.

    Another person's, or of another workspace, is another key.
    """
    name = "X-Idempotency-Key" if "X-Idempotency-Key" in request.headers else "Idempotency-Key"
    key = request.headers.get(name)
    if key is None:
        return None
    if request.headers.get("Idempotency-Key", key) != key:
        raise invalid(name, "contradicts", "X-Idempotency-Key and Idempotency-Key say different things; one is enough")
    if not 1 <= len(key) <= 255 or not all("!" <= letter <= "~" for letter in key):
        raise invalid(name, "invalid_value", f"{name} must be 1 to 255 visible ASCII characters", 255)
    scope = f"{who}|{request.tenant or ''}|{request.method} {request.path}"
    # What is asked for is in the query, too (`?async=true`). No body ends in a query, so that the two cannot be mixed.
    asked = request.payload + b"?" + request.query_string if request.query_string else request.payload
    return IdempotencyKey(scope, key, hashlib.sha256(asked).digest(), KEPT)


async def once(request: ApiRequest, who: str, do: Callable[[], Awaitable[Reply]]) -> Reply:
    """What *do* answers; when *who* asks sent the same key before, what it answered then. For POSTs other than chat.

    An error is not kept, whether raised or answered: the next request with the key tries again. Unless it was refused,
    it may have been done for all that: what it makes has its ids from the key's seed, so that the next attempt meets
    it. What *do* makes must be asked for with `ApiRequest.ask`, in one message.
    """
    key = idempotency_key(request, who)
    if key is None:
        return await do()
    begin = Begin(key, lease=_longest(request))
    doubtful = False
    try:
        begun = await _begin(request, begin)
        if isinstance(begun, Fresh):
            request.seed, doubtful = begun.seed, True
            reply = await do()
    except BaseException as error:
        # A claim may have been made that we never heard of, too; giving back what is not ours is harmless.
        await _settle(request, Release(key, begin.claimant, doubtful=doubtful and not _is_refusal(error)))
        raise
    if isinstance(begun, Stored):
        kept = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in begun.headers)
        # Without any it was kept by an earlier version, which knew only JSON.
        return Reply(begun.status_code, begun.body, (*(kept or json_bytes(b"").headers), REPLAYED))
    if reply.status >= 400:
        await _settle(request, Release(key, begin.claimant, doubtful=reply.status >= 500))
    else:
        fields = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in reply.headers)
        await _settle(request, Complete(key, reply.status, reply.body, fields))
    return reply


async def _begin(request: ApiRequest, begin: Begin) -> Begun:
    """Claim the key, also when the actor that does is killed meanwhile: by the same name it is claimed once."""
    give_up = trio.current_time() + SETTLING
    while True:
        try:
            return await request.node.ask(IDEMPOTENCY, begin, timeout=30.0)
        except ActorCrashed:
            if trio.current_time() >= give_up:
                raise
            await trio.sleep(_PAUSE)


def _longest(request: ApiRequest) -> timedelta:
    """How long the request can last, and with it its claim: another node cannot know that this one has died."""
    left = request.deadline - trio.current_time() + SETTLING
    return KEPT if left >= KEPT.total_seconds() else timedelta(seconds=max(left, SETTLING))


def _is_refusal(error: BaseException) -> bool:
    """Whether nothing was done, by what was raised: somebody said no, and not only that they do not know."""
    return isinstance(error, DomainError | ApiError) and STATUS.get(error.code, 500) < 500


async def _settle(request: ApiRequest, end: Complete | Release) -> None:
    """Write how it ended that had the key, also when the client has left, or when the actor that writes is restarted.

    After `SETTLING` seconds it is given up: what was done is done, and is answered so. The key is then taken until it
    runs out.
    """
    with trio.move_on_after(SETTLING, shield=True) as bound:
        while True:
            try:
                await request.node.ask(IDEMPOTENCY, end)
            except (RuntimeFault, DomainError):
                await trio.sleep(_PAUSE)
            else:
                break
    if bound.cancelled_caught:
        log.warning("idempotency key not settled", request_id=request.id, key=end.key.key)
