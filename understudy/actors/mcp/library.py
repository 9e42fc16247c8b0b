"""The tools of all servers: what the toolbox and the agents look into, and the servers' actors alone change."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar

import attrs
import msgspec

from understudy.actors.inference.messages import ToolSpec
from understudy.actors.mcp.messages import LeftOut
from understudy.actors.mcp.names import could_be_of, tool_name
from understudy.actors.mcp.ports import McpConnection, McpFailed, OfferedTool
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.tool import ToolFailed


@attrs.define
class Line:
    """The line to one server, as its tools hold it: it outlives connections, and the actor that makes them."""

    server: str
    connection: McpConnection | None = None
    why: str = "it has not been reached yet"


class RemoteTool:
    """A tool of an MCP server, callable as long as its line is up. It runs in the task of whoever calls."""

    serial: ClassVar[bool] = False
    keep: ClassVar[float] = 0.0
    acts: ClassVar[bool] = True

    def __init__(self, offered: OfferedTool, line: Line, name: str, timeout: float) -> None:
        self.name = name
        self.timeout = timeout
        self.spec = ToolSpec(name, offered.description, offered.schema)
        self._offered = offered
        self._line = line

    @property
    def callable(self) -> bool:
        """Whether its server is there."""
        return self._line.connection is not None

    def read(self, text: str) -> dict[str, Any]:
        """The arguments in the model's JSON *text*, checked against the server's schema. Raises `ToolFailed`."""
        try:
            arguments = msgspec.json.decode(text.strip() or "{}")
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ToolFailed(f"the arguments for {self.name} are not valid JSON: {error}") from error
        if not isinstance(arguments, dict):
            raise ToolFailed(f"bad arguments for {self.name}: they must be a JSON object")
        self._offered.check(arguments)
        return arguments

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Call it. Raises `ToolFailed`; cancelled, the server is told."""
        del context  # the server learns nothing of who is asking
        connection = self._line.connection
        if connection is None:
            raise ToolFailed(f"the MCP server {self._line.server!r} is away: {self._line.why}; try again later")
        try:
            result = await connection.call(self._offered.name, arguments)
        except McpFailed as failure:
            raise ToolFailed(f"the MCP server {self._line.server!r} failed: {failure}") from failure
        if not result.ok:
            raise ToolFailed(result.text or "the tool failed and did not say why")
        return result.text


class RemoteTools:
    """The tools of *servers*, as the toolbox (`ToolSource`) and the agents (`Roster`) want them. Nothing blocks.

    A server's tools are replaced as a whole, and stay known while it is away: an agent may go on naming them, and a
    turn that was offered one is told why it cannot be called.
    """

    def __init__(self, servers: Iterable[str]) -> None:
        self._lines = {name: Line(name) for name in servers}
        self._tools: dict[str, dict[str, RemoteTool]] = {name: {} for name in self._lines}

    def specs(self) -> tuple[ToolSpec, ...]:
        """Those that can be called now."""
        return tuple(tool.spec for tools in self._tools.values() for tool in tools.values() if tool.callable)

    def find(self, name: str) -> RemoteTool | None:
        """The tool of this name, also while its server is away."""
        return next((tools[name] for tools in self._tools.values() if name in tools), None)

    def names(self) -> Collection[str]:
        """All that are known."""
        return [name for tools in self._tools.values() for name in tools]

    def expects(self, name: str) -> bool:
        """Whether a configured server could have a tool of this name, or of this beginning."""
        return any(could_be_of(server, name) for server in self._lines)

    def of(self, server: str) -> tuple[str, ...]:
        """The names of one server's tools."""
        return tuple(self._tools[server])

    def replace(
        self, server: str, connection: McpConnection, tools: Iterable[OfferedTool], timeout: float
    ) -> tuple[LeftOut, ...]:
        """The *server* is there, on this *connection*, and these are its tools from now on; returns which are not.

        Turns keep the names they were offered; a call of one that is gone is refused.
        """
        line = self._lines[server]
        found: dict[str, RemoteTool] = {}
        left_out = []
        for offered in tools:
            name = tool_name(server, offered.name)
            if name in found:
                left_out.append(LeftOut(offered.name[:128], f"its name here, {name}, is another's already"))
            else:
                found[name] = RemoteTool(offered, line, name, timeout)
        self._tools[server] = found
        line.connection = connection
        return tuple(left_out)

    def lose(self, server: str, why: str) -> None:
        """The *server* is away."""
        line = self._lines[server]
        line.connection, line.why = None, why
