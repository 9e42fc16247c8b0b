"""What can be asked of the actor of an MCP server."""

from enum import StrEnum

import attrs

from understudy.runtime import Ask

SUPERVISOR = "mcp"
"""The address of the servers' supervisor, and the first part of theirs."""

CHAT = "chat"
"""The tool at our own `/mcp` that is an agent."""


def server_address(name: str) -> str:
    """Where the actor of the server of this name lives."""
    return f"{SUPERVISOR}/{name}"


class LinkState(StrEnum):
    """How it stands between us and a server."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    AWAY = "away"


@attrs.frozen
class LeftOut:
    """A tool that cannot be offered to a model, and why."""

    tool: str
    why: str


@attrs.frozen
class McpServerState:
    """A server as it stands. ``tools`` are their names as models see them, also while it is ``away``.

    ``peer`` is what the server calls itself, ``protocol`` the revision spoken with it, ``failures`` how often in a row
    a connection could not be made or was lost, ``problem`` the last reason.
    """

    name: str
    transport: str
    state: LinkState
    tools: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    peer: str | None = None
    protocol: str | None = None
    failures: int = 0
    problem: str | None = None


@attrs.frozen
class GetMcpServer(Ask[McpServerState]):
    """How does the server stand? Does not block."""
