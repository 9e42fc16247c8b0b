"""`/diagnostics/actors`: the actor tree, to look at, to watch and to act on. For operators."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from quart import Blueprint

from understudy.actors.errors import Conflict, NotFound
from understudy.actors.identity.messages import IDENTITY, KeyScope
from understudy.http import examples, schemas, schemas_actors
from understudy.http.access import acted, operator
from understudy.http.decode import query
from understudy.http.node import Node
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, StreamReply, json
from understudy.http.request import ApiRequest, this_request
from understudy.http.sse import Frame, event_stream, frame
from understudy.http.tree import deep, plain, shallow
from understudy.runtime import NotRunning, TreeChanges

routes = Blueprint("actors", __name__, url_prefix="/diagnostics/actors")

_TRACE = {
    "address": "session/ses_71ab",
    "messages": [
        {
            "began": "2026-03-02T09:10:00Z",
            "message": "StartTurn",
            "sender": "sessions/directory",
            "requestId": "3f0c",
            "outcome": "answered",
            "seconds": 0.004,
        }
    ],
}


class TreeQuery(schemas.Wire, frozen=True):
    """Whether to go on with what changes."""

    watch: bool = False


@routes.get("")
@operation(
    "actorTree",
    Auth.KEY,
    scope=KeyScope.DIAGNOSTICS,
    query=TreeQuery,
    replies={200: schemas_actors.ActorTree},
    reply_example=examples.ACTOR_TREE,
    also=("text/event-stream",),
)
async def actors() -> Reply | StreamReply:
    """Look at the whole actor tree.

    With `watch=1` it is a stream: one `snapshot`, then a `change` whenever something does, with the nodes that changed
    (without their children) and the addresses that are gone. A reader that comes back gets a new snapshot.
    """
    request = this_request()
    await operator(request, KeyScope.DIAGNOSTICS)
    if query(request, TreeQuery).watch:
        return _watch(request)
    return json(await deep(request.node.tree()))


@routes.get("/<path:address>")
@operation(
    "actor",
    Auth.KEY,
    scope=KeyScope.DIAGNOSTICS,
    replies={200: schemas_actors.ActorDetail},
    reply_example={**examples.ACTOR_TREE, "inspect": {"running": "trn_4", "queued": 0}},
    errors=("NOT_FOUND",),
)
async def actor(address: str) -> Reply:
    """Look at one actor: its node in the tree, and what it says of itself under `inspect`."""
    request = this_request()
    await operator(request, KeyScope.DIAGNOSTICS)
    node = request.node.node(address)
    if node is None:
        raise _unknown(address)
    shown = await deep(node)
    try:
        shown["inspect"] = plain(await request.node.inspect(address))
    except NotRunning:
        shown["inspect"] = None  # a supervisor, or an actor between two lives
    return json(shown)


@routes.get("/<path:address>/trace")
@operation(
    "traceActor",
    Auth.KEY,
    scope=KeyScope.DIAGNOSTICS,
    replies={200: schemas_actors.ActorTrace},
    reply_example=_TRACE,
    errors=("NOT_FOUND",),
)
async def trace(address: str) -> Reply:
    """Read the last messages that an actor handled, with outcome and duration. Their content is not kept."""
    request = this_request()
    await operator(request, KeyScope.DIAGNOSTICS)
    if request.node.node(address) is None:
        raise _unknown(address)
    return json({"address": address, "messages": plain(request.node.trace(address))})


@routes.post("/<path:address>/suspend")
@operation(
    "suspendActor",
    Auth.KEY,
    scope=KeyScope.ADMIN_WRITE,
    replies={200: schemas_actors.ActorControlled},
    reply_example={**examples.ACTOR_CONTROLLED, "node": {**examples.ACTOR, "state": "suspended"}},
    errors=("NOT_FOUND", "CONFLICT"),
)
async def suspend(address: str) -> Reply:
    """Stop an actor from taking messages; they queue until it is resumed.

    The one that checks the internal key is refused: suspended, it would let nobody in to resume it.
    """
    await operator(this_request(), KeyScope.ADMIN_WRITE)
    if address == IDENTITY:
        raise Conflict(f"{address} checks the key that resuming it takes; restart it instead")
    return await _control(address, "actor.suspended", lambda node: node.suspend)


@routes.post("/<path:address>/resume")
@operation(
    "resumeActor",
    Auth.KEY,
    scope=KeyScope.ADMIN_WRITE,
    replies={200: schemas_actors.ActorControlled},
    reply_example=examples.ACTOR_CONTROLLED,
    errors=("NOT_FOUND",),
)
async def resume(address: str) -> Reply:
    """Let a suspended actor go on."""
    return await _control(address, "actor.resumed", lambda node: node.resume)


@routes.post("/<path:address>/restart")
@operation(
    "restartActor",
    Auth.KEY,
    scope=KeyScope.ADMIN_WRITE,
    replies={200: schemas_actors.ActorControlled},
    reply_example=examples.ACTOR_CONTROLLED,
    errors=("NOT_FOUND",),
)
async def restart(address: str) -> Reply:
    """Stop an actor in order and start it again; its mail is kept."""
    return await _control(address, "actor.restarted", lambda node: node.restart)


@routes.post("/<path:address>/kill")
@operation(
    "killActor",
    Auth.KEY,
    scope=KeyScope.ADMIN_WRITE,
    replies={200: schemas_actors.ActorControlled},
    reply_example={"ok": True, "address": "session/ses_71ab", "node": None},
    errors=("NOT_FOUND",),
)
async def kill(address: str) -> Reply:
    """End an actor at once; its supervisor does what it does when a child dies."""
    return await _control(address, "actor.killed", lambda node: node.kill)


async def _control(address: str, event: str, choose: Callable[[Any], Callable[[str], Awaitable[None]]]) -> Reply:
    request = this_request()
    holder = await operator(request, KeyScope.ADMIN_WRITE)
    if request.node.node(address) is None:
        raise _unknown(address)
    await choose(request.node)(address)
    acted(request, holder, event, address=address)
    node = request.node.node(address)
    return json({"ok": True, "address": address, "node": shallow(node) if node is not None else None})


def _watch(request: ApiRequest) -> StreamReply:
    numbers = itertools.count(1)

    def render(item: tuple[str, Any]) -> Frame:
        return Frame(frame(item[0], item[1], str(next(numbers))))

    @asynccontextmanager
    async def source() -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        async with request.node.watch_tree() as changes:
            yield _TreeEvents(request.node, changes)

    return event_stream(source, render, request.draining, ping_every=request.settings.ping_every, ends_by_itself=False)


class _TreeEvents:
    """A snapshot of the tree, then its changes. Cancelled means nothing is lost."""

    def __init__(self, node: Node, changes: AsyncIterator[TreeChanges]) -> None:
        self._node = node
        self._changes = changes
        self._begun = False

    def __aiter__(self) -> "_TreeEvents":
        return self

    async def __anext__(self) -> tuple[str, Any]:
        if not self._begun:
            await self._changes.__anext__()  # every node once, without its place: the snapshot tells more
            snapshot = await deep(self._node.tree())
            self._begun = True
            return "snapshot", snapshot
        change = await self._changes.__anext__()
        return "change", {"changed": [shallow(node) for node in change.changed], "removed": list(change.removed)}


def _unknown(address: str) -> NotFound:
    return NotFound(f"There is no actor at {address}")
