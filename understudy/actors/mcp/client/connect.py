"""From a server as configured to the way to connect to it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from understudy.actors.mcp.client.connection import Patience, SdkConnection, connected
from understudy.actors.mcp.client.stdio import Stdio
from understudy.actors.mcp.client.web import web
from understudy.actors.mcp.ports import Connect, ConnectionLost
from understudy.actors.mcp.tree import McpServerPlan


class ServerConfig(Protocol):
    """An MCP server as configured (`understudy.config.McpServerSettings`)."""

    @property
    def name(self) -> str:
        """Its name here."""
        ...

    @property
    def command(self) -> tuple[str, ...]:
        """What starts it; empty for one that runs elsewhere."""
        ...

    @property
    def env(self) -> Mapping[str, str]:
        """What it finds in its environment beside the least."""
        ...

    @property
    def cwd(self) -> Path | None:
        """Where it is started."""
        ...

    @property
    def url(self) -> str | None:
        """Where it is reached."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What it is sent with every request."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that a call may take."""
        ...


def plan(server: ServerConfig, patience: Patience | None = None) -> McpServerPlan:
    """How *server* is to be kept connected. Starts and opens nothing."""
    patience = patience or Patience()
    transport = "stdio" if server.url is None else "http"
    return McpServerPlan(server.name, transport, _connect(server, patience), server.timeout)


def _connect(server: ServerConfig, patience: Patience) -> Connect:
    @asynccontextmanager
    async def over_pipes() -> AsyncGenerator[SdkConnection, None]:
        process = Stdio(server.name, server.command, server.env, server.cwd, grace=patience.end)
        try:
            async with connected(process, patience, process.watch) as connection:
                yield connection
        except ConnectionLost as lost:
            # What became of the process says more than that its pipe is closed.
            raise ConnectionLost(process.ending or str(lost)) from lost

    @asynccontextmanager
    async def over_http() -> AsyncGenerator[SdkConnection, None]:
        async with connected(web(server.url or "", server.headers), patience) as connection:
            yield connection

    return over_pipes if server.url is None else over_http
