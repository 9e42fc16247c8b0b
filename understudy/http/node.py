"""The one handle through which HTTP reaches the node: a narrow part of `ActorSystem`, so that no view can do more."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from understudy.actors.asking import Messenger
from understudy.runtime import TraceEntry, TreeChanges, TreeNode


class Node(Messenger, Protocol):
    """Ask actors, read their events, look at the tree and act on it. `ActorSystem` is one."""

    def context(
        self,
        *,
        request_id: str | None = None,
        trace: str | None = None,
        tenant: str | None = None,
        seed: str | None = None,
        deadline: float | None = None,
    ) -> AbstractContextManager[None]:
        """Say on whose behalf, and until when (trio's clock), what is asked inside is asked."""
        ...

    def tree(self) -> TreeNode:
        """The whole tree, as it is. Does not block."""
        ...

    def node(self, address: str) -> TreeNode | None:
        """One actor or supervisor with what is beneath it; None when there is none at *address*. Does not block."""
        ...

    def watch_tree(self) -> AbstractAsyncContextManager[AsyncIterator[TreeChanges]]:
        """What changes in the tree from now on, gathered over a tenth of a second."""
        ...

    async def inspect(self, address: str) -> Mapping[str, object]:
        """What the actor says of itself. `NotRunning` when there is none."""
        ...

    async def suspend(self, address: str) -> None:
        """Stop the actor from taking messages; they queue."""
        ...

    async def resume(self, address: str) -> None:
        """Let a suspended actor go on."""
        ...

    async def restart(self, address: str) -> None:
        """Stop the actor in order and start it again, with its mail."""
        ...

    async def kill(self, address: str) -> None:
        """End the actor at once; its supervisor does what it does when a child dies."""
        ...

    def trace(self, address: str) -> tuple[TraceEntry, ...]:
        """The last messages the actor handled, with outcome and duration. Does not block."""
        ...
