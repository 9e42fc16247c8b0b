"""What every provider client offers: one streaming inference as a context manager."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from understudy.actors.inference.messages import ModelEvent, ModelRequest


class ModelClient(Protocol):
    """A provider's client. Runs in the caller's task; starts no task of its own that outlives the ``async with``."""

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[ModelEvent]]:
        """Run one inference.

        Entering sends the request and waits for the response's head; iterating yields events, the last of which is
        `Finished`. Leaving early, by ``break``, error or cancellation, closes the connection before the block is left:
        not one more byte is read. Raises `ProviderFailed` or `TimedOut`, whose message names what was waited for.
        """
        ...

    async def aclose(self) -> None:
        """Close idle connections. Streams in flight are their callers' business. May be called twice."""
        ...
