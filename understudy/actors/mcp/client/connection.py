"""A connection through the SDK's client. Every error of the SDK's becomes one of ours here."""

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

import attrs
import httpx2
import trio
from mcp import Client, MCPError
from mcp.client import Transport
from mcp.client.subscriptions import SubscriptionLost
from mcp_types import CONNECTION_CLOSED, Implementation, Tool, ToolListChangedNotification
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from understudy.actors.mcp.client.content import as_text
from understudy.actors.mcp.client.schema import BadSchema, checker, usable
from understudy.actors.mcp.messages import LeftOut
from understudy.actors.mcp.ports import CallResult, ConnectionLost, McpFailed, Offer, OfferedTool

MOST_TOOLS = 128
MOST_PAGES = 20
LONGEST_DESCRIPTION = 1024
"""Characters; some providers take no more."""
LONGEST_SAID = 500
LISTEN_AGAIN = 30.0
"""Seconds after which a lost subscription to changes is made anew."""

_SDK_SAYS_NO = (MCPError, ValidationError, RuntimeError, OSError, httpx2.HTTPError, trio.TooSlowError)
"""RuntimeError is what the SDK raises for a server that breaks the protocol, or its own word on what a tool returns."""

log = logging.getLogger(__name__)

R = TypeVar("R")


@attrs.frozen
class Patience:
    """Seconds until a server has said who it is, until it answers what needs no work, until it has ended."""

    connect: float = 60.0
    answer: float = 10.0
    end: float = 1.0


@asynccontextmanager
async def connected(
    transport: Transport, patience: Patience, watch: Callable[[], Awaitable[None]] | None = None
) -> AsyncGenerator["SdkConnection", None]:
    """Connect through *transport* and agree on a revision. See `Connect` for what is raised, and when.

    *watch* raises `ConnectionLost` once there is no connection, if the transport can tell.
    """
    connection = SdkConnection(transport, patience)
    starting = trio.CancelScope(deadline=trio.current_time() + patience.connect)
    try:
        with starting:
            async with connection.client, trio.open_nursery() as nursery:
                starting.deadline = math.inf
                if watch is not None:
                    nursery.start_soon(watch)
                nursery.start_soon(connection.follow_changes)
                yield connection
                nursery.cancel_scope.cancel()
    except ConnectionLost:
        raise
    except _SDK_SAYS_NO as error:
        raise ConnectionLost(_words(error)) from error
    except ExceptionGroup as group:
        raise _first_known(group) from group
    if starting.cancelled_caught:
        raise ConnectionLost(f"it did not say who it is within {patience.connect:g} s")


class SdkConnection:
    """An `McpConnection`, as long as the block of `connected` lasts."""

    def __init__(self, transport: Transport, patience: Patience) -> None:
        self.client = Client(
            transport,
            cache=None,
            message_handler=self._heard,
            client_info=Implementation(name="understudy", version=version("understudy")),
        )
        self._patience = patience
        self._changed = trio.Event()
        self._calls = 0

    @property
    def peer(self) -> str | None:
        """What the server calls itself, with its version."""
        info = self.client.server_info
        return f"{info.name} {info.version}"[:128] if info is not None else None

    @property
    def protocol(self) -> str:
        """The revision of the protocol."""
        return self.client.protocol_version

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return self._calls > 0

    async def tools(self) -> Offer:
        """All pages of what it offers, as far as it can be passed on; see `McpConnection`."""
        self._changed = trio.Event()
        if self.client.server_capabilities.tools is None:
            return Offer(())
        found: list[Tool] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._answer(partial(self.client.list_tools, cursor=cursor))
            found += page.tools
            cursor = page.next_cursor
            if not cursor or len(found) > MOST_TOOLS:
                break
        # In a thread: to look at a hundred schemas takes tenths of a second.
        return await trio.to_thread.run_sync(_offer, found)

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallResult:
        """Call a tool; see `McpConnection`."""
        self._calls += 1
        try:
            result = await self.client.call_tool(tool, dict(arguments))
        except _SDK_SAYS_NO as error:
            raise _translated(error) from error
        finally:
            self._calls -= 1
        return CallResult(as_text(result), ok=not result.is_error)

    async def ping(self) -> None:
        """See whether it answers; see `McpConnection`. From 2026-07-28 on there is no ping: it is asked who it is."""
        session = self.client.session
        try:
            if self.protocol in MODERN_PROTOCOL_VERSIONS:
                await self._answer(lambda: session.send_discover(self.protocol))
            else:
                await self._answer(session.send_ping)
        except ConnectionLost:
            raise
        except McpFailed as failure:
            raise ConnectionLost(f"it did not answer a ping: {failure}") from failure

    async def wait_changed(self) -> None:
        """Wait until its tools may be others; see `McpConnection`."""
        await self._changed.wait()

    async def follow_changes(self) -> None:
        """Listen for changes, on a revision on which one has to ask for them. Ends when there is nothing to hear."""
        offered = self.client.server_capabilities.tools
        if self.protocol not in MODERN_PROTOCOL_VERSIONS or offered is None or not offered.list_changed:
            return
        while True:
            try:
                async with self.client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self._changed.set()
            except (MCPError, SubscriptionLost) as error:
                log.debug("changes of tools are not told: %s", error)
            await trio.sleep(LISTEN_AGAIN)
            self._changed.set()  # what happened in between nobody tells

    async def _heard(self, message: object) -> None:
        await trio.lowlevel.checkpoint()
        if isinstance(message, ToolListChangedNotification):
            self._changed.set()

    async def _answer(self, ask: Callable[[], Awaitable[R]]) -> R:
        """What *ask* gets within a time in which any server that lives can answer. Raises `McpFailed`."""
        try:
            with trio.fail_after(self._patience.answer):
                return await ask()
        except trio.TooSlowError as error:
            raise McpFailed(f"no answer within {self._patience.answer:g} s") from error
        except _SDK_SAYS_NO as error:
            raise _translated(error) from error


def _offer(found: list[Tool]) -> Offer:
    tools: list[OfferedTool] = []
    left_out: list[LeftOut] = []
    for tool in found:
        if len(tools) >= MOST_TOOLS:
            left_out.append(LeftOut(tool.name[:128], f"there are {MOST_TOOLS} before it"))
            break
        if not tool.name:
            left_out.append(LeftOut("", "it has no name"))
            continue
        try:
            shown = usable(tool.input_schema)
        except BadSchema as reason:
            left_out.append(LeftOut(tool.name[:128], str(reason)))
            continue
        description = (tool.description or tool.title or "")[:LONGEST_DESCRIPTION]
        tools.append(OfferedTool(tool.name, description, shown, checker(tool.name, tool.input_schema)))
    return Offer(tuple(tools), tuple(left_out[:MOST_TOOLS]))


def _translated(error: Exception) -> McpFailed:
    if isinstance(error, MCPError) and error.code == CONNECTION_CLOSED:
        return ConnectionLost("the connection was lost before it had answered")
    return McpFailed(_words(error))


def _first_known(group: ExceptionGroup[Exception]) -> Exception:
    """What to tell of a group: our own word if one is in it, else the SDK's; the group itself for a fault of ours."""
    leaves: list[Exception] = [group]
    while any(isinstance(leaf, ExceptionGroup) for leaf in leaves):
        leaves = [e for leaf in leaves for e in (leaf.exceptions if isinstance(leaf, ExceptionGroup) else (leaf,))]
    ours = next((leaf for leaf in leaves if isinstance(leaf, McpFailed)), None)
    if ours is not None:
        return ConnectionLost(str(ours))
    if all(isinstance(leaf, _SDK_SAYS_NO) for leaf in leaves):
        return ConnectionLost(_words(leaves[0]))
    return group


def _words(error: Exception) -> str:
    """The error in one line that is no longer than anybody reads. A server chose it: it is shown, not believed."""
    if isinstance(error, ValidationError):
        return f"its answer breaks the protocol: {error.error_count()} faults, the first at {error.errors()[0]['loc']}"
    said = " ".join(str(error).split()) or type(error).__name__
    return said[:LONGEST_SAID]
