"""The listener: the actor that serves HTTP. Started last, stopped first."""

import socket
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from understudy.actors.metrics.messages import METRICS, OpenConnections
from understudy.http.server import Server
from understudy.http.settings import HttpSettings
from understudy.runtime import Actor, Exit, receive

_TELL_EVERY = 5.0


@attrs.frozen
class _Tick:
    """Time to tell the metrics how many connections are open."""


class Listener(Actor):
    """Serves an application on sockets that the composition root has bound.

    The sockets outlive it: each incarnation serves duplicates of them, so that a listener that was killed or crashed is
    back at once on the same port, and clients that connected meanwhile wait in the kernel's queue. A stop lets requests
    in flight finish for at most ``settings.drain_timeout`` seconds.
    """

    def __init__(self, app: Any, sockets: Sequence[socket.socket], settings: HttpSettings) -> None:
        self._app = app
        self._sockets = sockets
        self._settings = settings

    async def started(self) -> None:
        """Serve, as linked work: when serving fails, so does this actor."""
        self._server = Server(self._app, self._sockets, self._settings.wire)
        self.work(self._server.serve, name="serve")
        self.every(_TELL_EVERY, _Tick())

    async def stopping(self, reason: Exit) -> None:
        """Take no more connections, and let what is in flight finish within the bound."""
        await self._server.drain(self._settings.drain_timeout)

    def snapshot(self) -> Mapping[str, object]:
        """Where it listens, and how much it has to do."""
        bound = [f"{host}:{port}" for host, port, *_ in (sock.getsockname() for sock in self._sockets)]
        return {"listening": bound, **attrs.asdict(self._server.statistics())}

    @receive
    def tick(self, message: _Tick) -> None:
        """Tell the metrics."""
        self.system.tell(METRICS, OpenConnections(websockets=0, streams=self._server.statistics().streams))
