"""One exchange of MCP: the SDK's own server, made for one request of one person and gone with it.

There are no sessions: every request says who is asking, and both eras of the protocol can be served so. Importing this
takes the `mcp` SDK, which is an extra.
"""

from importlib.metadata import version
from typing import Any
from uuid import uuid4

import mcp_types as types
import msgspec
import trio
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from understudy.actors.errors import DomainError
from understudy.actors.limits.messages import Bucket
from understudy.actors.mcp.messages import CHAT
from understudy.actors.tools.messages import DESK, ListDeskTools, RunTool, StopTool, ToolResult
from understudy.http.access import limited
from understudy.http.replies import Reply
from understudy.http.request import ApiRequest
from understudy.runtime import RuntimeFault

_INSTRUCTIONS = "Tools of an Understudy workspace, and `chat` with its agents. What is remembered here, they remember."


async def exchange(request: ApiRequest, uid: str, workspace_id: str) -> Reply:
    """Answer the request on behalf of the user in the workspace. Cancelled, the tool that it called is stopped."""
    desk = _Desk(request, uid, workspace_id)
    server: Server[Any] = Server(
        "understudy",
        version=version("understudy"),
        instructions=_INSTRUCTIONS,
        on_list_tools=desk.list_tools,
        on_call_tool=desk.call_tool,
    )
    manager = StreamableHTTPSessionManager(
        server, json_response=True, stateless=True, max_request_body_size=request.settings.max_body
    )
    answer = _Answer(request.payload)
    async with manager.run():
        await manager.handle_request(_scope(request), answer.receive, answer.send)
    if desk.lost is not None and request.seed is not None:
        raise desk.lost  # whether the tool ran is not known: who has a key may ask again, and it is done once
    return Reply(answer.status, b"".join(answer.body), tuple(answer.headers))


class _Desk:
    """The server's handlers."""

    def __init__(self, request: ApiRequest, uid: str, workspace_id: str) -> None:
        self._request = request
        self._uid = uid
        self._workspace_id = workspace_id
        self.lost: RuntimeFault | None = None
        """Why a tool's result was not heard of."""

    async def list_tools(
        self, context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """All tools, on one page."""
        del context, params
        specs = await self._request.node.ask(DESK, ListDeskTools())
        tools = [
            types.Tool(name=spec.name, description=spec.description, input_schema=dict(spec.parameters))
            for spec in specs
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """One tool's result. What the tool makes of the call is a result, also when it fails (as the protocol asks)."""
        del context
        known = {spec.name for spec in await self._request.node.ask(DESK, ListDeskTools())}
        if params.name not in known:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name[:64]}")
        self._request.log_fields = {"tool": params.name}
        try:
            if params.name == CHAT:
                await limited(self._request, Bucket("chat", self._uid))
            result = await self._run(params.name, msgspec.json.encode(params.arguments or {}).decode())
        except DomainError as refusal:
            return _result(refusal.message, failed=True)
        except RuntimeFault as fault:
            self.lost = fault
            return _result("the node is busy with something else; try again", failed=True)
        return _result(result.content, failed=not result.ok)

    async def _run(self, tool: str, arguments: str) -> ToolResult:
        request, call_id = self._request, uuid4().hex
        try:
            with request.on_behalf():
                return await request.node.ask(
                    DESK,
                    RunTool(call_id, self._uid, self._workspace_id, tool, arguments),
                    timeout=max(0.0, request.deadline - trio.current_time()),
                )
        except trio.Cancelled:
            request.node.tell(DESK, StopTool(call_id))
            raise


def _result(text: str, *, failed: bool) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=failed)


class _Answer:
    """The two ends of an ASGI exchange: the request's body, which is there already, and what is answered."""

    def __init__(self, payload: bytes) -> None:
        self._payload: bytes | None = payload
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []

    async def receive(self) -> dict[str, Any]:
        """The body; after it nothing: that the client leaves is told by cancelling."""
        if self._payload is None:
            await trio.sleep_forever()
        payload, self._payload = self._payload, None
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": payload, "more_body": False}

    async def send(self, message: Any) -> None:
        """Keep what is answered."""
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # How long it is, the server says itself.
            self.headers = [field for field in message["headers"] if field[0] != b"content-length"]
        else:
            self.body.append(message.get("body", b""))


def _scope(request: ApiRequest) -> dict[str, Any]:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
    return {
        "type": "http",
        "method": request.method,
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "headers": headers,
        "http_version": "1.1",
        "scheme": request.scheme,
    }
