"""When a server is tried again, and when it is pinged: on a clock of the test's own."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from typing import Any

import attrs
import trio
from trio.testing import MockClock

from understudy.actors.mcp.actor import Pace
from understudy.actors.mcp.library import RemoteTools
from understudy.actors.mcp.messages import GetMcpServer, LinkState, server_address
from understudy.actors.mcp.ports import CallResult, Connect, ConnectionLost, McpConnection, Offer
from understudy.actors.mcp.tree import McpServerPlan, mcp_spec
from understudy.runtime import ActorSystem, Backoff

PACE = Pace(ping_every=30.0, backoff=Backoff(base=1.0, limit=8.0, jitter=0.0, stable_after=60.0))


@attrs.define
class Line:
    """A connection that offers nothing, and is lost when a ping says so."""

    alive: Callable[[], bool] = lambda: True
    busy: bool = False
    pings: list[float] = attrs.field(factory=list)
    peer: str | None = "fake"
    protocol: str = "1"

    async def tools(self) -> Offer:
        await trio.lowlevel.checkpoint()
        return Offer(())

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallResult:
        raise AssertionError("nobody calls this here")

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint()
        self.pings.append(trio.current_time())
        if not self.alive():
            raise ConnectionLost("it is gone")

    async def wait_changed(self) -> None:
        await trio.sleep_forever()


@asynccontextmanager
async def following(connect: Connect) -> AsyncIterator[ActorSystem]:
    with trio.fail_after(10_000):
        async with ActorSystem("test") as system:
            plan = McpServerPlan("lab", "fake", connect, 1.0)
            await system.spawn(mcp_spec([plan], RemoteTools(["lab"]), pace=PACE))
            yield system
            await system.stop()


async def test_it_is_tried_at_once_and_then_less_and_less_often(autojump_clock: MockClock) -> None:
    del autojump_clock
    tried: list[float] = []

    class Nobody(AbstractAsyncContextManager[McpConnection]):
        async def __aenter__(self) -> McpConnection:
            tried.append(trio.current_time())
            await trio.lowlevel.checkpoint()
            raise ConnectionLost("there is nobody")

        async def __aexit__(self, *_: object) -> None:
            raise AssertionError("nobody calls this here")

    async with following(Nobody) as system:
        await trio.sleep(40)
        state = await system.ask(server_address("lab"), GetMcpServer())
        assert (state.state, state.problem) == (LinkState.AWAY, "there is nobody")
        assert state.failures == len(tried)
    waits = [round(later - earlier, 3) for earlier, later in pairwise(tried)]
    assert waits[:6] == [0, 1, 2, 4, 8, 8]


async def test_a_connection_that_held_for_a_while_makes_it_begin_anew(autojump_clock: MockClock) -> None:
    del autojump_clock
    made: list[float] = []

    def connect() -> AbstractAsyncContextManager[McpConnection]:
        @asynccontextmanager
        async def line() -> AsyncIterator[McpConnection]:
            began = trio.current_time()
            made.append(began)
            yield Line(alive=lambda: trio.current_time() < began + 80)

        return line()

    async with following(connect):
        await trio.sleep(600)
    waits = {round(later - earlier) for earlier, later in pairwise(made)}
    assert waits == {90}  # the third ping, and again at once


async def test_a_server_at_work_is_not_pinged(autojump_clock: MockClock) -> None:
    del autojump_clock
    line = Line(busy=True)

    @asynccontextmanager
    async def connect() -> AsyncIterator[McpConnection]:
        await trio.lowlevel.checkpoint()
        yield line

    async with following(connect):
        await trio.sleep(100)
        assert line.pings == []
        line.busy = False
        await trio.sleep(65)
        assert len(line.pings) == 2
