"""Where audit lines go."""

from typing import Protocol

from understudy.storage.entries import Entry


class Writer(Protocol):
    """The journal, as a writer sees it."""

    async def write(self, *entries: Entry) -> None:
        """Write the entries as one group; returns after commit. Raises `StoreUnavailable` when it could not in time."""
        ...
