"""MCP servers over pipes, on the real kernel."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from understudy.actors.mcp.actor import Pace
from understudy.actors.mcp.client.connect import plan
from understudy.actors.mcp.client.connection import Patience
from understudy.actors.mcp.library import RemoteTools
from understudy.actors.mcp.messages import GetMcpServer, LinkState, McpServerState, server_address
from understudy.actors.mcp.tree import mcp_spec
from understudy.actors.tools.messages import ToolContext, ToolResult
from understudy.actors.tools.toolbox import Toolbox
from understudy.config import McpServerSettings
from understudy.runtime import ActorSystem, Backoff
from understudy.storage.records import ToolCall

SCRIPT = (sys.executable, "-I", str(Path(__file__).parents[2] / "support" / "mcp_server.py"))
QUICK = Pace(ping_every=0.2, relist_after=0.0, backoff=Backoff(base=0.05, limit=0.1))
PATIENCE = Patience(connect=10, answer=5, end=0.05)
CONTEXT = ToolContext("ws", "usr", "agent", "ses", "trn")


@attrs.frozen
class Node:
    system: ActorSystem
    library: RemoteTools
    box: Toolbox
    name: str

    async def state(self) -> McpServerState:
        return await self.system.ask(server_address(self.name), GetMcpServer())

    async def until(self, state: LinkState, *, after: int = -1) -> McpServerState:
        """Wait until it stands so, with more failures behind it than *after*."""
        while (found := await self.state()).state is not state or found.failures <= after:
            await trio.sleep(0.005)
        return found

    async def call(self, tool: str, **arguments: Any) -> ToolResult:
        return await self.box.run(ToolCall("c1", f"mcp__{self.name}__{tool}", json.dumps(arguments)), CONTEXT)

    async def hanging(self) -> None:
        """Wait until the server has got a call that it does not answer."""
        while not json.loads((await self.call("hanging")).content):
            await trio.sleep(0.005)

    async def pid(self) -> int:
        """The server's process: the parent of what it starts."""
        child = int((await self.call("offspring")).content)
        return int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])


@asynccontextmanager
async def node(
    mode: str = "", *, patience: Patience = PATIENCE, pace: Pace = QUICK, **settings: Any
) -> AsyncIterator[Node]:
    server = McpServerSettings("lab", **({"command": (*SCRIPT, mode)} | settings))
    library = RemoteTools([server.name])
    with trio.fail_after(20):
        async with ActorSystem("test") as system:
            await system.spawn(mcp_spec([plan(server, patience)], library, pace=pace))
            yield Node(system, library, Toolbox([], others=library), server.name)
            await system.stop()
