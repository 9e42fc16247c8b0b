"""The actor that keeps a node's lease."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

import attrs
import trio

from understudy.actors.nodes.calls import pass_on
from understudy.actors.nodes.messages import NODE
from understudy.actors.nodes.ports import Membership
from understudy.actors.session.messages import DIRECTORY
from understudy.runtime import Actor, ChildSpec, Exit, receive
from understudy.storage.errors import StoreUnavailable

_LISTEN = 60.0
_PAUSE = 1.0


@attrs.frozen
class _Renew:
    """Time to say that we are there."""


class NodeActor(Actor):
    """Renews the node's lease three times in each, and passes on what other nodes call.

    It starts before any session: a node without a lease looks dead to the others. One that was paused for longer than
    its lease is simply there again; what it lost meanwhile, the sessions' epochs tell it.
    """

    kind: ClassVar[str | None] = "node"

    def __init__(self, membership: Membership) -> None:
        self._store = membership.store
        self._incarnation = membership.incarnation
        self._lease = membership.lease
        self._renewing = False
        self._error: str | None = None

    async def started(self) -> None:
        """Begin the lease, and end the one of this server's last run. Raises `StoreUnavailable`; then tried again."""
        incarnation = self._incarnation
        await self._store.renew(incarnation.id, timedelta(seconds=self._lease))
        if incarnation.predecessor is not None:
            await self._store.leave(incarnation.predecessor)
        incarnation.settle()
        self.labels = {"node": incarnation.id}
        self.every(self._lease / 3, _Renew())
        self.work(self._listen, name="listen")

    async def stopping(self, reason: Exit) -> None:
        """End the lease, when the sessions are gone: the other nodes need not wait for what is left of it."""
        del reason
        if self.system.whereis(DIRECTORY) is None:  # else it is only us who are being restarted
            await self.cancel_work()  # a renewal under way might come after
            try:
                await self._store.leave(self._incarnation.id)
            except StoreUnavailable:
                return  # it runs out by itself

    @receive
    def renew(self, message: _Renew) -> None:
        """Renew the lease, unless that is going on."""
        del message
        if not self._renewing:
            self._renewing = True
            self.work(self._renew, name="renew")

    def snapshot(self) -> Mapping[str, object]:
        """Which node this is, how long it is missed before it counts as dead, and what keeps it from renewing."""
        return {"node": self._incarnation.id, "lease": self._lease, "error": self._error}

    async def _renew(self) -> None:
        try:
            await self._store.renew(self._incarnation.id, timedelta(seconds=self._lease))
        except StoreUnavailable as error:
            self._error = str(error)  # tried again with the next beat
        else:
            self._error = None
        finally:
            self._renewing = False

    async def _listen(self) -> None:
        while True:
            try:
                async with self._store.listening() as called:
                    while True:
                        for said in await called(_LISTEN):
                            pass_on(self.system, self._incarnation.id, said)
            except StoreUnavailable:
                await trio.sleep(_PAUSE)


def node_spec(membership: Membership) -> ChildSpec:
    """The child at `NODE`."""
    return ChildSpec(NODE.partition("/")[2], NodeActor, args=(membership,))
