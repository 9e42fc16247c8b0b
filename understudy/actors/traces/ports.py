"""What the traces ask of the storage, and of whoever they are exported to."""

from datetime import datetime
from typing import Protocol

import attrs

from understudy.storage.spending import Trace, TraceFilter


class TraceStore(Protocol):
    """Stored traces. All raise `StoreUnavailable`."""

    async def list(self, wanted: TraceFilter, *, limit: int = 20, offset: int = 0) -> tuple[tuple[Trace, ...], int]:
        """One page, newest first and without spans, and how many there are in all."""
        ...

    async def get(self, workspace_id: str, trace_id: str, *, uid: str | None = None) -> Trace | None:
        """One trace with its spans, if it is the workspace's (and the user's)."""
        ...

    async def of_turn(self, workspace_id: str, turn_id: str, started_at: datetime) -> Trace | None:
        """The trace of a turn that began within a second of *started_at*, with its spans."""
        ...


class CollectorAway(Exception):
    """It could not be reached, or has no time: try again, after ``retry_after`` seconds if it said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CollectorRefused(Exception):
    """It does not take what was sent; sending it again would change nothing."""


@attrs.frozen
class Taken:
    """What a collector did not take of a request that it took, and why."""

    rejected_spans: int = 0
    why: str = ""


class Collector(Protocol):
    """Takes traces."""

    @property
    def place(self) -> str:
        """Where it is, fit to be shown."""
        ...

    async def send(self, body: bytes) -> Taken:
        """Send one request, within a bound. Raises `CollectorAway`, `CollectorRefused`."""
        ...

    def close(self) -> None:
        """Keep no connection any more. Does not block."""
        ...
