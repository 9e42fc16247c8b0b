"""The place where an answer is awaited, and the handle with which an actor answers later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from understudy.runtime.errors import AskTimeout, RuntimeFault

if TYPE_CHECKING:
    from understudy.runtime.actorcell import ActorCell
    from understudy.runtime.messages import Ask
    from understudy.runtime.system import ActorSystem

R = TypeVar("R")


class Slot:
    """One outstanding ask: who waits, until when, and which actors wait behind it.

    It is ``live`` until the first of: an answer, a failure, the deadline, the asker's cancellation.
    """

    __slots__ = ("_error", "_task", "_value", "address", "asked", "chain", "deadline", "live", "system")

    def __init__(
        self, system: ActorSystem, address: str, asked: type, now: float, deadline: float, chain: tuple[str, ...]
    ) -> None:
        self.system = system
        self.address = address
        self.asked = (asked, now)
        self.deadline = deadline
        self.chain = chain
        self.live = True
        self._task: Task | None = None
        self._value: object = None
        self._error: BaseException | None = None

    def begin(self) -> bool:
        """Say that the message is about to be handled. False means that the asker is gone or out of time."""
        if self.live and self.system.now() >= self.deadline:
            self.fire(self.deadline)
        return self.live

    def fire(self, now: float) -> None:
        """The deadline has come."""
        kind, asked = self.asked
        self.fail(AskTimeout(self.address, kind.__name__, self.deadline - asked))

    def reply(self, value: object) -> bool:
        """Give the asker *value*; False (and counted) when nobody waits any more."""
        if not self.live:
            self.system.late_replies += 1
            return False
        self._value = value
        self._settle()
        return True

    def fail(self, error: BaseException) -> bool:
        """Make the ask raise *error*; False when nobody waits any more."""
        if not self.live:
            return False
        self._error = error
        self._settle()
        return True

    def _settle(self) -> None:
        self.live = False
        self.system.schedule.drop()
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)

    def _abort(self, _raise_cancel: object) -> Abort:
        # The asker was cancelled: nobody waits, and what is queued will not be begun.
        self.live = False
        self._task = None
        self.system.schedule.drop()
        return Abort.SUCCEEDED

    async def wait(self) -> object:
        """Wait for the answer, a failure or the deadline; return the one, raise the others."""
        if self.live:
            self._task = current_task()
            await wait_task_rescheduled(self._abort)
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error, self  # no cycle from the traceback to itself


class Deferred(Generic[R]):
    """An answer promised for later: return it from a handler instead of the answer.

    It dies with the actor: the asker gets `ActorCrashed` or `NotRunning` at once. Answering twice, or after the asker
    has gone, does nothing but count.
    """

    __slots__ = ("_cell", "_slot")

    def __init__(self, slot: Slot | None, cell: ActorCell | None) -> None:
        self._slot = slot
        self._cell = cell

    @property
    def done(self) -> bool:
        """Whether it was answered, failed or given up: nothing more can reach the asker."""
        return self._slot is None or not self._slot.live

    @property
    def expired(self) -> bool:
        """Whether the asker has gone: answered already, out of time or cancelled."""
        return self.done

    @property
    def deadline(self) -> float | None:
        """When the asker stops waiting, on trio's clock; None when nobody ever waited (the message was told)."""
        return None if self._slot is None else self._slot.deadline

    def reply(self, value: R) -> bool:
        """Answer with *value*; False when nobody was waiting."""
        self._forget()
        return self._slot is not None and self._slot.reply(value)

    def fail(self, error: Exception) -> bool:
        """Make the ask raise *error* (a `Refusal`, as a rule); False when nobody was waiting."""
        if not isinstance(error, Exception):
            raise RuntimeFault(f"an ask can only be failed with an Exception, not {error!r}")
        self._forget()
        return self._slot is not None and self._slot.fail(error)

    def forward(self, address: str, message: Ask[R]) -> None:
        """Let *address* answer instead, with *message*: as `Actor.forward`, for a promise made earlier.

        The asker and its deadline go along; what goes wrong there reaches the asker. Does not block.
        """
        cell, slot = self._cell, self._slot
        self._forget()
        if cell is not None and slot is not None and slot.live:
            cell.relay(slot, address, message)

    def _forget(self) -> None:
        if self._cell is not None:
            self._cell.forget_deferred(self)
