"""An actor that now and then looks for what nobody told it of."""

from typing import ClassVar

import attrs

from understudy.runtime import Actor, receive
from understudy.storage.errors import StoreUnavailable


@attrs.frozen
class Sweep:
    """Time to look."""


class Sweeping(Actor):
    """Sweeps beside the mailbox, never twice at a time; what the absent database keeps from it waits for the next."""

    sweeps_at_start: ClassVar[bool] = True
    sweep_every: float
    """Seconds from one sweep to the next; set it in ``__init__``."""

    _sweeping = False

    async def started(self) -> None:
        """Sweep from now on."""
        self.every(self.sweep_every, Sweep())
        if self.sweeps_at_start:
            self.sweep(Sweep())

    @receive
    def sweep(self, message: Sweep) -> None:
        """Look, unless that is going on."""
        del message
        if not self._sweeping:
            self._sweeping = True
            self.work(self._sweep_once, name="sweep")

    async def _sweep_once(self) -> None:
        try:
            await self._sweep()
        except StoreUnavailable:
            return
        finally:
            self._sweeping = False

    async def _sweep(self) -> None:
        """Look once. May raise `StoreUnavailable`; any other error crashes the actor."""
        raise NotImplementedError
