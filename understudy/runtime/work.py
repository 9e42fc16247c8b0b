"""Linked work: a task that lives under an actor, and whose end is told to it as a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from understudy.runtime.context import HERE, Envelope
from understudy.runtime.messages import Outcome, Raised, Returned, Stopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from understudy.runtime.actorcell import ActorCell
    from understudy.runtime.context import Origin


@attrs.frozen
class WorkInfo:
    """A piece of work in flight, as the tree shows it. ``age`` in seconds."""

    name: str
    age: float


@final
class Work:
    """Handle of a piece of linked work. Made by `Actor.work`.

    The work keeps the request id, trace and tenant of the message that started it, but not its deadline or its call
    chain: it outlives the ask.
    """

    __slots__ = ("_cell", "_fn", "_scope", "address", "envelope", "name", "outcome", "progressed", "started", "tag")

    def __init__(
        self,
        cell: ActorCell,
        fn: Callable[[], Awaitable[Any]],
        name: str,
        tag: object,
        origin: Origin | None,
        now: float,
    ) -> None:
        self._cell = cell
        self._fn = fn
        self._scope = trio.CancelScope()
        self.name = name
        self.tag = tag
        self.started = now
        self.progressed = now
        self.outcome: Outcome | None = None
        self.address: str | None = cell.address
        self.envelope: Envelope | None = (None, cell.address, origin, None, now)

    def __repr__(self) -> str:
        return f"<Work {self.name!r} of {self.address}>"

    def cancel(self) -> None:
        """Cancel it. Returns at once; `WorkDone` with `Stopped` follows when it has ended. Harmless when it has."""
        self._scope.cancel()

    def progress(self, now: float) -> None:
        """Note that it is getting on (see ``progress_timeout``)."""
        self.progressed = now

    async def run(self) -> None:
        """Run it to its end and report. An Exception is an outcome; KeyboardInterrupt and the like pass through."""
        HERE.set(self)
        outcome: Outcome = Stopped()
        try:
            with self._scope:
                outcome = Returned(await self._fn())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the actor's to judge
            outcome = Raised(error)
        finally:
            self.outcome = outcome
            self._cell.work_left(self, outcome)
