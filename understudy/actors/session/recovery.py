"""After the end of a node, however it came: no turn may say that it is running there."""

import logging
from collections.abc import Sequence

import attrs
import trio

from understudy.actors.serving import NO, Server
from understudy.actors.session.messages import EndAbandoned, session_address
from understudy.actors.session.services import SessionServices
from understudy.runtime import receive
from understudy.storage.errors import StoreUnavailable

AT_ONCE = 32
"""Sessions that are woken side by side."""

log = logging.getLogger(__name__)


@attrs.frozen
class _Sweep:
    """Time to look for what other nodes left."""


class Recovery(Server):
    """Wakes every session in which the database believes a turn to be running by a node whose lease is over.

    Waking ends the turn as interrupted; what it had asked people for is then withdrawn. Turns of living nodes are left
    alone. At the start also those of this node: nothing of it runs yet. Starts after the sessions' supervisor and
    before the listener, so that nobody is served a lie; looks again every *every* seconds, for what other nodes leave.
    """

    def __init__(self, services: SessionServices, every: float | None = None) -> None:
        self._services = services
        self._every = every
        self._sweeping = False
        self._recovered = 0

    async def started(self) -> None:
        """Blocks until all are ended. Raises `StoreUnavailable`; the supervisor then tries again."""
        services = self._services
        abandoned = await services.store.abandoned_sessions(services.node)
        slots = trio.Semaphore(AT_ONCE)
        async with trio.open_nursery() as nursery:
            for session_id in abandoned:
                if self.system.whereis(session_address(session_id)) is None:
                    nursery.start_soon(self._wake, session_id, slots)
        await self._withdraw()
        if self._every is not None:
            self.every(self._every, _Sweep())

    @receive
    def sweep(self, message: _Sweep) -> None:
        """Look again, unless that is going on."""
        del message
        if not self._sweeping:
            self._sweeping = True
            self.work(self._sweep, name="sweep")

    def snapshot(self) -> dict[str, object]:
        """In how many sessions a turn was found that nobody ran any more."""
        return {"recovered": self._recovered}

    async def _sweep(self) -> None:
        try:
            abandoned: Sequence[str] = await self._services.store.abandoned_sessions()
            slots = trio.Semaphore(AT_ONCE)
            async with trio.open_nursery() as nursery:
                for session_id in abandoned:
                    nursery.start_soon(self._end, session_id, slots)
            await self._withdraw()
        except StoreUnavailable:
            return  # found again by the next
        finally:
            self._sweeping = False

    async def _wake(self, session_id: str, slots: trio.Semaphore) -> None:
        async with slots:
            await self.system.ensure(session_address(session_id))
            self._recovered += 1

    async def _end(self, session_id: str, slots: trio.Semaphore) -> None:
        async with slots:
            try:
                await self.system.ask(session_address(session_id), EndAbandoned())
            except NO as error:
                log.warning("a turn that nobody runs any more was not ended yet: %s", error)
            else:
                self._recovered += 1

    async def _withdraw(self) -> None:
        if self._services.requests is not None:
            await self._services.requests.withdraw_abandoned(self._services.now())
