"""`Actor`: what users derive from."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from understudy.runtime.handlers import Handler, handlers_of
from understudy.runtime.mailbox import Overflow
from understudy.runtime.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from understudy.runtime.actorcell import ActorCell
    from understudy.runtime.eventlog import EventLog
    from understudy.runtime.exits import Exit
    from understudy.runtime.messages import Ask, WorkDone
    from understudy.runtime.monitors import Monitor
    from understudy.runtime.reply import Deferred
    from understudy.runtime.system import ActorSystem
    from understudy.runtime.timers import Timer
    from understudy.runtime.work import Work

R = TypeVar("R")


class Actor:
    """Private state, one message at a time, and a supervisor above.

    The kernel makes one instance per incarnation, calls `started`, then hands it messages until it ends. Nothing below
    may be used in ``__init__``: the instance gets its place in the tree only afterwards.

    Class options (a `ChildSpec` overrides them):
        kind: The word under which static actors of this class are found; default is the class name in lower case.
        mailbox_limit: Messages that may wait in the user lane.
        overflow: What happens to one more.
        idle_after: Seconds of quiet (no mail, work, timer or subscriber) after which a dynamic child stops, to be
            activated again by the next message. None: never.
        progress_timeout: Seconds that a handler or a piece of work may take without `progress`. None: for ever.
        stash_limit: Messages that may be stashed.
        trace_depth: Messages remembered for `ActorSystem.trace`; 0 remembers none.
    """

    kind: ClassVar[str | None] = None
    mailbox_limit: ClassVar[int] = 1000
    overflow: ClassVar[Overflow] = Overflow.REJECT
    idle_after: ClassVar[float | None] = None
    progress_timeout: ClassVar[float | None] = None
    stash_limit: ClassVar[int] = 1000
    trace_depth: ClassVar[int] = 16

    __handlers__: ClassVar[Mapping[type, Handler]] = {}

    events: EventLog[Any] | None = None
    """Set it in `started` if others may subscribe to this actor."""

    labels: Mapping[str, str] = {}
    """What the tree shows beside the address: workspace, agent, … Set it in `started`."""

    _cell: ActorCell
    _status: str | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__handlers__ = handlers_of(cls)

    async def started(self) -> None:
        """Load state. Runs for every incarnation, before its first message, within ``start_timeout``.

        State is never trusted from before a crash. A `Refusal` raised here answers whoever asked for the actor.
        """

    async def stopping(self, reason: Exit) -> None:
        """Say goodbye, within ``shutdown`` seconds: cancelled when they have passed. Work is still running.

        Runs when the actor is told to stop, stops itself or is passivated; not when it crashed or was killed.
        """

    def snapshot(self) -> Mapping[str, object]:
        """Return what `ActorSystem.inspect` shows. Must not block or change anything; may run while a handler waits."""
        return {}

    @property
    def ref(self) -> Ref:
        """This actor, for others."""
        return self._cell.ref

    @property
    def address(self) -> str:
        """Where it lives."""
        return self._cell.address

    @property
    def system(self) -> ActorSystem:
        """The system it lives in."""
        return self._cell.system

    @property
    def status(self) -> str | None:
        """A free word shown in the tree (``"thinking"``); setting it tells the tree's watchers."""
        return self._status

    @status.setter
    def status(self, word: str | None) -> None:
        self._status = word
        self._cell.changed()

    def work(self, fn: Callable[..., Awaitable[Any]], *args: Any, name: str = "work", tag: object = None) -> Work:
        """Start linked work: ``fn(*args)`` in a task of its own, while the mailbox stays served.

        Its end arrives as `WorkDone` on the system lane. It is cancelled, and waited for, when this incarnation ends.
        """
        return self._alive().start_work(functools.partial(fn, *args) if args else fn, name, tag)

    async def cancel_work(self) -> Sequence[WorkDone]:
        """Cancel all work and wait until it has ended; return the outcomes, which do not arrive as messages then.

        For `stopping`, to save what the work had done. If cancelled itself, the work stays cancelled.
        """
        return await self._alive().cancel_work()

    def progress(self) -> None:
        """Say that the running handler or work is getting on, so that ``progress_timeout`` starts anew."""
        self._alive().progress()

    def after(self, seconds: float, message: object) -> Timer:
        """Send *message* to self in *seconds*. It bypasses the mailbox limit, but not the queue."""
        return self._alive().start_timer(seconds, None, message)

    def every(self, seconds: float, message: object) -> Timer:
        """Send *message* to self every *seconds*, first in *seconds*. Beats do not pile up."""
        return self._alive().start_timer(seconds, seconds, message)

    def monitor(self, target: Ref | str) -> Monitor:
        """Ask for one `Down` when *target* ends for good; at once, with `NotFound`, if nothing is there.

        A restart is no end. The monitor itself ends with this incarnation.
        """
        return self._alive().monitor(target.address if isinstance(target, Ref) else target)

    def link(self, target: Ref) -> None:
        """Couple fates: when either incarnation crashes or is killed, the other crashes with `LinkedExit`."""
        self._alive().link(target)

    def stop(self, exit: Exit | None = None) -> None:
        """Stop after the current message, with *exit* (default `Normal`). A ``permanent`` child is started again."""
        self._alive().stop_self(exit)

    def stash(self) -> None:
        """Put the current message aside until `unstash_all`; what the handler returns is not an answer then.

        Raises:
            MailboxFull: ``stash_limit`` messages are stashed already.
        """
        self._alive().stash()

    def unstash_all(self) -> None:
        """Put what was stashed back, in order, before everything that waits."""
        self._alive().unstash_all()

    def defer(self, message: Ask[R]) -> Deferred[R]:
        """Promise an answer for later: ``return self.defer(message)``. See `Deferred`."""
        return self._alive().defer()

    def forward(self, address: str, message: Ask[R]) -> Deferred[R]:
        """Let *address* answer instead: ``return self.forward(address, other_message)``.

        The asker, its deadline, chain and context go along; the address is activated if need be. What goes wrong there
        reaches the asker, not this actor.
        """
        return self._alive().forward(address, message)

    def _alive(self) -> ActorCell:
        cell = self._cell
        cell.check_incarnation(self)
        return cell
