"""The listener: the actor that serves HTTP. Started last, stopped first."""

import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs

from understudy.actors.metrics.messages import METRICS, OpenConnections
from understudy.http.server import Server
from understudy.http.settings import HttpSettings
from understudy.runtime import Actor, Exit, MailboxFull, receive

_TELL_EVERY = 0.5
_TOLD_AT_ONCE = 800  # a millisecond of the loop


@attrs.frozen
class _Tick:
    """Time to tell the metrics what was served and how much is open."""


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
        self._ticking = self.every(_TELL_EVERY, _Tick())

    async def stopping(self, reason: Exit) -> None:
        """Take no more connections, and let what is in flight finish within the bound."""
        self._ticking.cancel()  # nobody would handle it: it would be a dead letter of every stop
        await self._server.drain(self._settings.drain_timeout)

    def snapshot(self) -> Mapping[str, object]:
        """Where it listens, and how much it has to do."""
        bound = [f"{host}:{port}" for host, port, *_ in (sock.getsockname() for sock in self._sockets)]
        return {"listening": bound, **attrs.asdict(self._server.statistics())}

    @receive
    def tick(self, message: _Tick) -> None:
        """Tell the metrics what was served since, in one batch: a tell per request would cost a tenth of it."""
        served: Any = getattr(self._app, "served", ())
        with suppress(MailboxFull):  # numbers may be lost, requests may not
            for _ in range(min(len(served), _TOLD_AT_ONCE)):
                self.system.tell(METRICS, served.popleft())
            self.system.tell(METRICS, OpenConnections(websockets=0, streams=self._server.streams))
