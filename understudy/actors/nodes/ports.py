"""What a node needs of the storage, and of its data directory."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol

import attrs


class NodeStore(Protocol):
    """The nodes that share the database; each raises `StoreUnavailable`. See `storage.nodes`."""

    async def renew(self, node: str, lease: timedelta) -> None:
        """*node* is there for so long from now on."""
        ...

    async def leave(self, node: str) -> None:
        """*node* is gone: what it left is anybody's."""
        ...

    async def call(self, said: str) -> None:
        """Say something to all nodes that listen just now."""
        ...

    def listening(self) -> AbstractAsyncContextManager[Callable[[float], Awaitable[tuple[str, ...]]]]:
        """A function that waits, at most so many seconds, for what is called."""
        ...


class Incarnation(Protocol):
    """One run of one server. See `storage.incarnation`."""

    @property
    def id(self) -> str:
        """Its name among the nodes, new with every run."""
        ...

    @property
    def predecessor(self) -> str | None:
        """The run before in the same data directory, which is known to be over."""
        ...

    def settle(self) -> None:
        """Note down that the next run's predecessor is this one."""
        ...


@attrs.frozen
class Membership:
    """What the node's actor is given; ``lease`` is in seconds, and renewed three times in it."""

    store: NodeStore
    incarnation: Incarnation
    lease: float = 15.0
