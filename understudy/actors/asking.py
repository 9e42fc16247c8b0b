"""Talking to actors, for code that needs nothing else of the actor system; `ActorSystem` can do all of it."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from understudy.runtime import Ask, Lagged, Numbered

R = TypeVar("R")


class Asker(Protocol):
    """Whoever can ask an actor."""

    def ask(self, address: str, message: Ask[R], timeout: float | None = None) -> Awaitable[R]:
        """Ask the actor at *address*, activating it when it can be. Raises its `Refusal`, or a `RuntimeFault`."""
        ...


class Messenger(Asker, Protocol):
    """Whoever can also tell an actor something, and read what it tells."""

    def tell(self, address: str, message: object) -> None:
        """Tell a live actor something; a dead letter when there is none. Does not block."""
        ...

    def subscribe(
        self, address: str, after: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[Numbered[Any] | Lagged]]:
        """Read the actor's events after *after*, each once and in order, across its restarts."""
        ...
