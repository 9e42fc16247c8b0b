"""What the actor of a server needs of a connection to it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

import attrs

from understudy.actors.mcp.messages import LeftOut


class McpFailed(Exception):
    """The server refused, failed or did not answer; the message is for people and models. The connection stands."""


class ConnectionLost(McpFailed):
    """... and there is no connection any more, or never was one."""


@attrs.frozen
class OfferedTool:
    """A tool as its server offers it, under the server's own name for it.

    ``check`` raises `ToolFailed` for arguments that break the ``schema``.
    """

    name: str
    description: str
    schema: Mapping[str, object]
    check: Callable[[Any], None]


@attrs.frozen
class Offer:
    """All that a server offers and that can be passed on."""

    tools: tuple[OfferedTool, ...]
    left_out: tuple[LeftOut, ...] = ()


@attrs.frozen
class CallResult:
    """What a call came to, as text. ``ok`` False: the tool itself says that it failed."""

    text: str
    ok: bool


class McpConnection(Protocol):
    """A server that answers. Its methods may be called from any task, and side by side."""

    @property
    def peer(self) -> str | None:
        """What the server calls itself, with its version."""
        ...

    @property
    def protocol(self) -> str:
        """The revision of the protocol spoken with it."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        ...

    async def tools(self) -> Offer:
        """What it offers now. Raises `McpFailed`."""
        ...

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallResult:
        """Call a tool under its own name. Raises `McpFailed`; cancelled, the server is told so.

        A server that is there may take as long as it likes; one that goes away is noticed at once.
        """
        ...

    async def ping(self) -> None:
        """See whether it answers. Raises `ConnectionLost` when it does not."""
        ...

    async def wait_changed(self) -> None:
        """Wait until its tools are, or may be, others than when `tools` was asked last."""
        ...


Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[McpConnection]]
"""Makes a connection; leaving the block ends it, and the server's process with it.

Raises `ConnectionLost` when there is none to be had, and out of the block's body when it is lost. Cancelled, it cleans
up within a few seconds.
"""
