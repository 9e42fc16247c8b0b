"""MCP servers over streamable HTTP: the SDK's own server, in both of its eras, and some that are none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from mcp.server.mcpserver import MCPServer
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.subscriptions import ToolsListChanged

from tests.actors.mcp.stage import PATIENCE, QUICK, Node
from tests.support.node import free_port
from tests.support.server import serving
from understudy.actors.mcp.client.connect import plan
from understudy.actors.mcp.library import RemoteTools
from understudy.actors.mcp.messages import LinkState
from understudy.actors.mcp.tree import mcp_spec
from understudy.actors.tools.toolbox import Toolbox
from understudy.config import McpServerSettings
from understudy.runtime import ActorSystem


@attrs.define
class Site:
    """A server of the SDK's. ``only_handshake``: as those made before 2026 are. ``token``: what it asks of clients."""

    server: MCPServer
    only_handshake: bool = False
    token: str = "s3cret"
    down: bool = False
    hanging: trio.Event = attrs.field(factory=trio.Event)
    stopped: list[str] = attrs.field(factory=list)
    manager: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        version = headers.get(b"mcp-protocol-version", b"").decode()
        if self.down:
            await answer(send, 503, b"", b"text/plain")
        elif headers.get(b"authorization") != f"Bearer {self.token}".encode():
            await answer(send, 401, b"", b"text/plain")
        elif self.only_handshake and version == "2026-07-28":
            await answer(send, 400, b"what is this?", b"text/plain")
        else:
            await self.manager.handle_request(scope, receive, send)


async def answer(send: Any, status: int, body: bytes, kind: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@asynccontextmanager
async def lab(app: Any, url: str | None = None) -> AsyncIterator[Node]:
    async with serving(app) as running:
        settings = McpServerSettings("lab", url=url or f"{running.url}/mcp", headers={"Authorization": "Bearer s3cret"})
        library = RemoteTools(["lab"])
        async with ActorSystem("test") as system:
            await system.spawn(mcp_spec([plan(settings, PATIENCE)], library, pace=QUICK))
            yield Node(system, library, Toolbox([], others=library), "lab")
            await system.stop()


def a_site(**how: Any) -> Site:
    server = MCPServer("site")

    @server.tool()
    async def double(number: int) -> int:
        await trio.lowlevel.checkpoint()
        return 2 * number

    hanging, stopped = trio.Event(), list[str]()

    @server.tool()
    async def hang() -> None:
        hanging.set()
        try:
            await trio.sleep_forever()
        finally:
            stopped.append("hang")

    return Site(server, hanging=hanging, stopped=stopped, **how)


@pytest.mark.parametrize("only_handshake", [False, True])
async def test_a_server_is_used_goes_away_and_comes_back(only_handshake: bool) -> None:
    site = a_site(only_handshake=only_handshake)
    site.manager = StreamableHTTPSessionManager(site.server._lowlevel_server)
    async with site.manager.run(), lab(site) as node:
        state = await node.until(LinkState.CONNECTED)
        assert state.protocol == ("2025-11-25" if only_handshake else "2026-07-28")
        assert set(state.tools) == {"mcp__lab__double", "mcp__lab__hang"}
        assert (await node.call("double", number=21)).content == "42"
        assert "is not of type 'integer'" in (await node.call("double", number="x")).content
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.call, "hang")
            await site.hanging.wait()
            nursery.cancel_scope.cancel()
        while not site.stopped:
            await trio.sleep(0.005)
        site.down = True
        await node.until(LinkState.AWAY, after=0)
        assert "is away" in (await node.call("double", number=1)).content
        site.down = False
        await node.until(LinkState.CONNECTED)
        assert (await node.call("double", number=4)).content == "8"


async def test_new_tools_are_heard_of() -> None:
    site = a_site()
    site.manager = StreamableHTTPSessionManager(site.server._lowlevel_server)
    async with site.manager.run(), lab(site) as node:
        await node.until(LinkState.CONNECTED)

        @site.server.tool()
        def late() -> str:
            return "here"

        while "mcp__lab__late" not in (await node.state()).tools:
            await site.server._subscriptions.publish(ToolsListChanged())  # it may not have begun to listen yet
            await trio.sleep(0.005)


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("nobody", "attempts to connect"),
        ("401", "an error response"),
        ("html", "Unexpected content type: text/html"),
        ("flood", "the answer is larger than 4194304 bytes"),
        ("zipped", "an encoding that it was not asked for"),
    ],
)
async def test_what_is_no_server_is_away(what: str, problem: str) -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        if what == "401":
            await answer(send, 401, b"", b"text/plain")
        elif what == "html":
            await answer(send, 200, b"<p>hello</p>", b"text/html")
        else:
            head = [(b"content-type", b"application/json")]
            if what == "zipped":
                head.append((b"content-encoding", b"gzip"))
            await send({"type": "http.response.start", "status": 200, "headers": head})
            for _ in range(100):
                await send({"type": "http.response.body", "body": b" " * 1_000_000, "more_body": True})

    async with lab(app, f"http://127.0.0.1:{free_port()}" if what == "nobody" else None) as node:
        assert problem in ((await node.until(LinkState.AWAY, after=0)).problem or "")
        assert node.box.specs() == ()
