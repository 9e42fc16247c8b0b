"""How open streams learn that the server stops."""

from collections.abc import Callable
from enum import IntEnum

Callback = Callable[[], object]


class Phase(IntEnum):
    """How far a stop has come."""

    SERVING = 0
    DRAINING = 1
    """No new requests. Streams that never end by themselves end now."""
    CLOSING = 2
    """The time for finishing is up: every stream ends now, and says so."""


class Draining:
    """The phase of the server, and who wants to be called when it changes."""

    def __init__(self) -> None:
        self.phase = Phase.SERVING
        self._callbacks: set[Callback] = set()

    def enter(self, phase: Phase) -> None:
        """Go on to *phase* and call everybody. Does not block."""
        self.phase = max(self.phase, phase)
        for callback in tuple(self._callbacks):
            callback()

    @property
    def streams(self) -> int:
        """How many streams are open: each wants to be called."""
        return len(self._callbacks)

    def add(self, callback: Callback) -> None:
        """Have *callback* called at each change."""
        self._callbacks.add(callback)

    def discard(self, callback: Callback) -> None:
        """Forget *callback*."""
        self._callbacks.discard(callback)
