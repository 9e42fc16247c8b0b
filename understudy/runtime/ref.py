"""A reference to an actor: all that anybody else ever holds of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from understudy.runtime.context import HERE

if TYPE_CHECKING:
    from understudy.runtime.cell import Cell
    from understudy.runtime.messages import Ask

R = TypeVar("R")


@attrs.frozen
class Ref:
    """An address, and the incarnation that was met there.

    A ref stays good across restarts and passivation: it means the address. ``epoch`` tells incarnations apart; it only
    ever grows.
    """

    address: str
    epoch: int
    _cell: Cell = attrs.field(repr=False, eq=False, hash=False)

    def tell(self, message: object, *, expires_in: float | None = None) -> None:
        """Queue *message*; never blocks.

        To an actor that is gone: a dead letter. With *expires_in* (seconds), a message not begun by then is one too.

        Raises:
            MailboxFull: The mailbox is at its limit, and its overflow is REJECT (or BLOCK, which `send` waits for).
        """
        cell = self._cell
        here = HERE.get()
        envelope = None if here is None else here.envelope
        box = cell.mailbox
        if expires_in is None and box is not None and len(box.lane) < box.room:
            if here is None:
                box.lane.append((message, None, None, None, cell.system.now()))
            else:
                origin = None if envelope is None else envelope[2]
                box.lane.append((message, here.address, origin, None, cell.system.now()))
            if box.parked is not None:
                cell.wake()
        else:
            cell.tell(message, expires_in)

    async def send(self, message: object, timeout: float | None = None) -> None:
        """Queue *message*, waiting for room if the mailbox blocks. Cancelled means not queued.

        Raises:
            MailboxFull: There was no room within *timeout* seconds (default 5), or the overflow is REJECT.
        """
        await self._cell.send(message, timeout)

    async def ask(self, message: Ask[R], timeout: float | None = None) -> R:
        """Send *message* and wait for its answer, *timeout* seconds at most.

        The default is 5 s, and never more than the caller itself has left.

        If this is cancelled before the callee has begun, it never begins.

        Raises:
            Refusal: What the actor refused with.
            AskTimeout: The deadline passed.
            AskCycle: The actor is waiting for us already.
            ActorCrashed: It crashed while serving this; ``__cause__`` says of what.
            NotRunning: It is gone for good, or was stopped before it answered.
            MailboxFull: It is overloaded.
        """
        answer: R = await self._cell.ask(message, timeout)  # type: ignore[assignment]  # the Ask names its type
        return answer
