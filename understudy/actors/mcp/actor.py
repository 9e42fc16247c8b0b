"""The actor of one MCP server: keeps a connection to it, and its tools in the library as they are."""

import logging
import random
from collections.abc import Mapping
from typing import ClassVar

import attrs
import trio

from understudy.actors.mcp.library import RemoteTools
from understudy.actors.mcp.messages import GetMcpServer, LeftOut, LinkState, McpServerState
from understudy.actors.mcp.ports import Connect, ConnectionLost, McpConnection, McpFailed
from understudy.runtime import Actor, Backoff, Raised, WorkDone, receive

log = logging.getLogger(__name__)


@attrs.frozen
class Pace:
    """When a server is looked at, and tried again. Seconds.

    A server of which nothing is heard for ``ping_every`` is pinged, unless it is at work on a call. One that says that
    its tools have changed is asked after ``relist_after``: it may have more to say.
    """

    ping_every: float = 30.0
    relist_after: float = 0.5
    backoff: Backoff = attrs.field(factory=lambda: Backoff(base=0.5, limit=60.0))


class McpServer(Actor):
    """Connects to its server, and again whenever the connection is lost; that is no crash.

    Calls do not go through its mailbox: they run in the turn's task, on the connection that it put into the library.
    Its own end takes the connection along, so that they fail at once, and the server's process with it.
    """

    kind: ClassVar[str | None] = "mcp"

    def __init__(
        self,
        name: str,
        transport: str,
        connect: Connect,
        library: RemoteTools,
        timeout: float,
        pace: Pace,
        rng: random.Random,
    ) -> None:
        self._name = name
        self._connect = connect
        self._library = library
        self._timeout = timeout
        self._pace = pace
        self._rng = rng
        self._state = McpServerState(name, transport, LinkState.CONNECTING)

    async def started(self) -> None:
        """Begin to connect; the node does not wait for it."""
        self.labels = {"transport": self._state.transport}
        self._tell(attrs.evolve(self._state, tools=self._library.of(self._name)))
        self.work(self._keep_connected, name="connection")
        await trio.lowlevel.checkpoint()

    @receive
    def state(self, message: GetMcpServer) -> McpServerState:
        """How it stands."""
        del message
        return self._state

    @receive
    def ended(self, message: WorkDone) -> None:
        """The connection's keeper has ended, which it never should: crash, and begin anew."""
        if isinstance(message.outcome, Raised):
            raise message.outcome.error

    def snapshot(self) -> Mapping[str, object]:
        """How it stands, with its tools."""
        return attrs.asdict(self._state)

    async def _keep_connected(self) -> None:
        while True:
            lasted = 0.0
            try:
                async with self._connect() as connection:
                    began = trio.current_time()
                    try:
                        await self._follow(connection)
                    finally:
                        lasted = trio.current_time() - began
            except McpFailed as failure:
                self._lost(str(failure))
            finally:
                self._library.lose(self._name, self._state.problem or "its connection is being made anew")
            before = 0 if lasted >= self._pace.backoff.stable_after else self._state.failures
            self._tell(attrs.evolve(self._state, failures=before + 1))
            await trio.sleep(self._pace.backoff.delay(before, self._rng))
            self._tell(attrs.evolve(self._state, state=LinkState.CONNECTING))

    async def _follow(self, connection: McpConnection) -> None:
        """Keep the library as the server says, until the connection is lost."""
        await self._list(connection)
        log.info("MCP server %s is connected, %d tools", self._name, len(self._state.tools))
        while True:
            with trio.move_on_after(self._pace.ping_every) as quiet:
                await connection.wait_changed()
            if not quiet.cancelled_caught:
                await trio.sleep(self._pace.relist_after)
                await self._list(connection)
            elif not connection.busy:  # one that does one thing at a time could not answer now
                await connection.ping()

    async def _list(self, connection: McpConnection) -> None:
        try:
            offer = await connection.tools()
        except ConnectionLost:
            raise
        except McpFailed as failure:
            raise ConnectionLost(f"it does not say which tools it has: {failure}") from failure
        doubles = self._library.replace(self._name, connection, offer.tools, self._timeout)
        left_out = (*offer.left_out, *doubles)
        self._report(left_out)
        self._tell(
            attrs.evolve(
                self._state,
                state=LinkState.CONNECTED,
                tools=self._library.of(self._name),
                left_out=left_out,
                peer=connection.peer,
                protocol=connection.protocol,
                problem=None,
            )
        )

    def _report(self, left_out: tuple[LeftOut, ...]) -> None:
        for each in set(left_out) - set(self._state.left_out):
            log.warning("MCP server %s: the tool %r is left out: %s", self._name, each.tool[:64], each.why)

    def _lost(self, why: str) -> None:
        if why != self._state.problem:  # once, and not with every attempt
            log.warning("MCP server %s is away: %s", self._name, why)
        self._tell(attrs.evolve(self._state, state=LinkState.AWAY, problem=why))

    def _tell(self, state: McpServerState) -> None:
        self._state = state
        count = len(state.tools)
        self.status = f"{state.state}, {count} tool{'' if count == 1 else 's'}"
