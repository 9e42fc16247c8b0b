"""`/mcp`: our tools, for whoever speaks the Model Context Protocol (streamable HTTP)."""

from collections.abc import Awaitable, Callable

import trio
from quart import Blueprint

from understudy.http.access import member, once
from understudy.http.errors import ApiError, invalid
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply
from understudy.http.request import ApiRequest, this_request

routes = Blueprint("mcp", __name__, url_prefix="/mcp")


@routes.post("")
@operation(
    "mcp",
    Auth.WORKSPACE,
    replies={200: None, 202: None},
    headers=("X-Workspace-Id", "X-Idempotency-Key"),
    errors=("CONFLICT", "NOT_IMPLEMENTED", "RATE_LIMIT", "VALIDATION"),
)
async def mcp() -> Reply:
    """Speak MCP: one JSON-RPC message, and its answer as JSON.

    Sessions and streams are not offered: each request stands alone, with your access token, in any revision of the
    protocol from 2024-11-05 on. A page of another origin is refused unless its origin is configured. 501 on a server
    that was installed without the `mcp` extra.
    """
    request = this_request()
    _refuse_strangers(request)
    caller = await member(request)
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise invalid("Content-Type", "not_json", "Content-Type: send application/json")
    exchange = await trio.to_thread.run_sync(_load)

    async def do() -> Reply:
        return await exchange(request, caller.uid, caller.workspace_id)

    return await once(request, caller.uid, do)


def _refuse_strangers(request: ApiRequest) -> None:
    """Browsers say where a page is from; one that found this server by a trick with names is not let in (the spec)."""
    origin, known = request.headers.get("Origin"), request.settings.cors_origins
    if origin is not None and "*" not in known and origin not in known:
        raise ApiError("FORBIDDEN", "Pages of this origin may not call this server")


def _load() -> Callable[[ApiRequest, str, str], Awaitable[Reply]]:
    # In a thread: the first import of the SDK takes a second or two.
    try:
        from understudy.http.mcp import exchange
    except ImportError as error:
        raise ApiError("NOT_IMPLEMENTED", "This server was installed without its extra for MCP") from error
    return exchange
