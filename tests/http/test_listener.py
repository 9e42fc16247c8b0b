"""The listener as an actor: it can be killed, crash and be stopped, and its port is always there."""

import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.support.server import RawClient
from understudy.actors.metrics.messages import OpenConnections, RequestServed
from understudy.http.listener import Listener
from understudy.http.settings import HttpSettings
from understudy.runtime import Actor, ActorSystem, ChildSpec, SupervisorSpec, receive

GET = "GET / HTTP/1.1\nHost: t\n\n"


@attrs.define
class App:
    """Answers at once, but for ``/slow``."""

    go_on: trio.Event = attrs.field(factory=trio.Event)
    waiting: int = 0
    served: deque[RequestServed] = attrs.field(factory=deque)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            self.waiting += 1
            await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok", "more_body": False})


@attrs.frozen
class Node:
    """A system with a listener, and where it listens."""

    system: ActorSystem
    app: App
    port: int

    async def connect(self) -> RawClient:
        return RawClient(await trio.open_tcp_stream("127.0.0.1", self.port))

    async def answers(self) -> bool:
        async with await self.connect() as client:
            await client.send(GET)
            return (await client.response()).body == b"ok"


@asynccontextmanager
async def listening(**settings: Any) -> AsyncIterator[Node]:
    app = App()
    with trio.fail_after(20), socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        async with ActorSystem("listener tests", max_restarts=100) as system:
            http = HttpSettings(**settings)
            await system.spawn(ChildSpec("server", Listener, args=(app, [sock], http), shutdown=10.0))
            yield Node(system, app, sock.getsockname()[1])


async def test_a_listener_serves_and_tells_where() -> None:
    async with listening() as node:
        assert await node.answers()
        shown = await node.system.inspect("server")
        assert shown["listening"] == [f"127.0.0.1:{node.port}"]
        assert shown["accepted"] == 1


async def test_a_killed_listener_is_back_on_the_same_port_and_no_client_is_refused() -> None:
    async with listening() as node:
        for _ in range(10):
            await node.system.kill("server")
            assert await node.answers()


async def test_killing_the_listener_closes_its_connections() -> None:
    async with listening() as node, await node.connect() as client:
        await client.send(GET)
        await client.response()
        await node.system.kill("server")
        assert await client.receive() == b""


@pytest.mark.parametrize("_", range(10))
async def test_a_request_in_flight_when_the_listener_is_killed_is_told_so(_: int) -> None:
    async with listening() as node, await node.connect() as client:
        await client.send("GET /slow HTTP/1.1\nHost: t\n\n")
        while not node.app.waiting:
            await trio.lowlevel.checkpoint()
        await node.system.kill("server")
        response = await client.response()
        assert (response.status, response.json["code"]) == (503, "UNAVAILABLE")
        assert response.headers["retry-after"] == "1"
        assert await client.closed()


async def test_a_listener_that_is_stopped_lets_requests_in_flight_finish() -> None:
    async with listening() as node, await node.connect() as client, trio.open_nursery() as nursery:
        await client.send("GET /slow HTTP/1.1\nHost: t\n\n")
        while not node.app.waiting:
            await trio.lowlevel.checkpoint()
        nursery.start_soon(node.system.stop)
        await trio.testing.wait_all_tasks_blocked()
        node.app.go_on.set()
        assert (await client.response()).body == b"ok"


async def test_a_listener_that_is_stopped_does_not_wait_longer_than_its_bound() -> None:
    async with listening(drain_timeout=0.2) as node, await node.connect() as client:
        await client.send("GET /slow HTTP/1.1\nHost: t\n\n")
        while not node.app.waiting:
            await trio.lowlevel.checkpoint()
        begun = trio.current_time()
        await node.system.stop()
        assert trio.current_time() - begun < 5


async def test_a_restarted_listener_loses_no_request_that_waits_in_the_kernel() -> None:
    async with listening() as node:
        await node.system.suspend("server")
        await node.system.restart("server")
        assert await node.answers()


async def test_what_was_served_is_told_to_the_metrics() -> None:
    counted: list[RequestServed] = []

    class Metrics(Actor):
        @receive
        def served(self, message: RequestServed) -> None:
            counted.append(message)

        @receive
        def connections(self, message: OpenConnections) -> None:
            pass

    async with listening() as node:
        await node.system.spawn(SupervisorSpec("telemetry", children=(ChildSpec("metrics", Metrics),)))
        node.app.served.extend(RequestServed("GET", "/livez", 200, n) for n in range(5))
        while len(counted) < 5:
            await trio.sleep(0.01)
        assert [message.seconds for message in counted] == list(range(5))
        assert not node.app.served
