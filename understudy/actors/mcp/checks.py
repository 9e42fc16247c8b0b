"""Checks of the MCP servers: one for each."""

from collections.abc import Iterable

from understudy.actors.diagnostics.check import Check, Finding, passed, warned
from understudy.actors.mcp.messages import GetMcpServer, LinkState, server_address
from understudy.runtime import ActorSystem


def mcp_checks(servers: Iterable[str]) -> tuple[Check, ...]:
    """Each server is connected, and all of its tools can be offered. None of this ever fails a node."""
    return tuple(_check(server) for server in servers)


def _check(server: str) -> Check:
    async def run(system: ActorSystem) -> Finding:
        found = await system.ask(server_address(server), GetMcpServer(), timeout=1.0)
        if found.state is not LinkState.CONNECTED:
            problem = found.problem or "it has not answered yet"
            hint = "see what it prints in the log; it is tried again by itself"
            return warned(f"{found.state} over {found.transport}, {found.failures} failures in a row: {problem}", hint)
        count = len(found.tools)
        told = f"{found.peer or 'a server without a name'}, {found.protocol} over {found.transport}, {count} tools"
        if found.left_out:
            first = found.left_out[0]
            others = f", and {len(found.left_out) - 1} more" if len(found.left_out) > 1 else ""
            return warned(f"{told}; left out: {first.tool} ({first.why}){others}", "tell whoever makes the server")
        return passed(told)

    return Check(f"mcp.{server}", run)
