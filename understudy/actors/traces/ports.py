"""What the traces ask of the storage."""

from typing import Protocol

from understudy.storage.spending import Trace, TraceFilter


class TraceStore(Protocol):
    """Stored traces. All raise `StoreUnavailable`."""

    async def list(self, wanted: TraceFilter, *, limit: int = 20, offset: int = 0) -> tuple[tuple[Trace, ...], int]:
        """One page, newest first and without spans, and how many there are in all."""
        ...

    async def get(self, workspace_id: str, trace_id: str, *, uid: str | None = None) -> Trace | None:
        """One trace with its spans, if it is the workspace's (and the user's)."""
        ...
