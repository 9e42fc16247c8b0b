"""Asking an actor, for code that needs nothing else of the actor system."""

from collections.abc import Awaitable
from typing import Protocol, TypeVar

from understudy.runtime import Ask

R = TypeVar("R")


class Asker(Protocol):
    """Whoever can ask an actor; `understudy.runtime.ActorSystem` can."""

    def ask(self, address: str, message: Ask[R], timeout: float | None = None) -> Awaitable[R]:
        """The actor's answer."""
        ...
