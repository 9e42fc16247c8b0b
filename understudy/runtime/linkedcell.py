"""What lives and dies with one incarnation: work, timers, monitors, links, promises."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from understudy.runtime.cell import Cell
from understudy.runtime.context import HERE
from understudy.runtime.errors import (
    AskCycle,
    LinkedExit,
    MailboxFull,
    RuntimeFault,
    StaleIncarnation,
)
from understudy.runtime.exits import Crashed, Exit, NotFound, is_abnormal
from understudy.runtime.mailcell import MailCell
from understudy.runtime.messages import Outcome, WorkDone
from understudy.runtime.monitors import Monitor
from understudy.runtime.reply import Deferred, Slot
from understudy.runtime.timers import Timer
from understudy.runtime.work import Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from understudy.runtime.actor import Actor
    from understudy.runtime.childspec import ChildSpec
    from understudy.runtime.context import Envelope
    from understudy.runtime.mailbox import Mailbox
    from understudy.runtime.messages import Ask
    from understudy.runtime.ref import Ref
    from understudy.runtime.supervisor import Supervisor
    from understudy.runtime.system import ActorSystem

_PRUNE_ABOVE = 64


class LinkedCell(MailCell):
    """A cell whose incarnation owns things.

    Each collection is made when first needed, since most actors have none; and is a dict rather than a set, since the
    order of a set changes from run to run, and with it what a seeded test sees.
    """

    __slots__ = (
        "actor",
        "collected",
        "deferred",
        "envelope",
        "links",
        "progressed",
        "prune_above",
        "stashed",
        "timers",
        "watching",
        "works",
    )

    def __init__(
        self, system: ActorSystem, parent: Supervisor, spec: ChildSpec, address: str, mailbox: Mailbox
    ) -> None:
        super().__init__(system, parent, spec, address, mailbox)
        self.actor: Actor | None = None
        self.envelope: Envelope | None = None
        self.works: dict[Work, None] | None = None
        self.timers: dict[Timer, None] | None = None
        self.watching: dict[Monitor, None] | None = None
        self.links: dict[LinkedCell, None] | None = None
        self.deferred: dict[Deferred[Any], None] | None = None
        self.collected: list[WorkDone] | None = None
        self.stashed: Envelope | None = None
        self.progressed = 0.0
        self.prune_above = _PRUNE_ABOVE

    def check_incarnation(self, actor: Actor) -> None:
        """Raise `StaleIncarnation` unless *actor* is the present one: what an old one still does is fenced off."""
        if self.actor is not actor:
            raise StaleIncarnation(f"{self.address}: this incarnation has ended")

    # -- work ----------------------------------------------------------------------------------------------------------

    def start_work(self, fn: Callable[[], Awaitable[Any]], name: str, tag: object) -> Work:
        """Start linked work on behalf of whoever is served now. While all work is being cancelled, this is, too."""
        here = HERE.get()
        origin = None if here is None or here.envelope is None else here.envelope[2]
        work = Work(self, fn, name, tag, origin, self.system.now())  # type: ignore[arg-type]  # always an ActorCell
        if self.works is None:
            self.works = {}
        self.works[work] = None
        if self.collected is not None:
            work.cancel()
        self.system.start_task(work.run, f"{self.address} {name}")
        self.changed()
        return work

    def work_left(self, work: Work, outcome: Outcome) -> None:
        """A piece of work has ended. Last act of its task."""
        if self.works is not None:
            self.works.pop(work, None)
        if self.collected is not None:
            self.collected.append(WorkDone(work, outcome))
            if not self.works:
                self._notify()
        else:
            self.put_system(WorkDone(work, outcome))
        self.changed()

    async def cancel_work(self) -> Sequence[WorkDone]:
        """Cancel all work, wait until it has ended, and return how."""
        collected = self.collected = []
        for work in self.works or ():
            work.cancel()
        try:
            while self.works:
                await self.wait_change()
        finally:
            self.collected = None
        return collected

    def progress(self) -> None:
        """Note progress of whatever is running here."""
        here = HERE.get()
        now = self.system.now()
        if isinstance(here, Work):
            here.progress(now)
        else:
            self.progressed = now

    # -- timers --------------------------------------------------------------------------------------------------------

    def start_timer(self, seconds: float, again: float | None, message: object) -> Timer:
        """Wind up a timer."""
        if not seconds >= 0 or again == 0:
            raise ValueError(f"a timer cannot wait {seconds} seconds")
        timer = Timer(self, self.system.now() + seconds, again, message)  # type: ignore[arg-type]  # an ActorCell
        if self.timers is None:
            self.timers = {}
        self.timers[timer] = None
        return timer

    def forget_timer(self, timer: Timer) -> None:
        """The timer is done."""
        if self.timers is not None:
            self.timers.pop(timer, None)

    # -- monitors and links --------------------------------------------------------------------------------------------

    def monitor(self, address: str) -> Monitor:
        """Watch what lives at *address*."""
        watch = Monitor(self, address)  # type: ignore[arg-type]  # an ActorCell
        target = self.system.find(address)
        if target is None:
            watch.tell(NotFound())
        else:
            watch.attach(target)
            if self.watching is None:
                self.watching = {}
            self.watching[watch] = None
        return watch

    def forget_monitor(self, watch: Monitor) -> None:
        """The monitor is done."""
        if self.watching is not None:
            self.watching.pop(watch, None)

    def link(self, target: Ref) -> None:
        """Couple this incarnation's fate with the target's."""
        other: Cell | None = self.system.find(target.address)
        if other is self:
            return
        if not isinstance(other, LinkedCell) or not other.running:
            self.crash_with(LinkedExit(f"{self.address}: linked to {target.address}, where nothing runs"))
            return
        for one, two in ((self, other), (other, self)):
            if one.links is None:
                one.links = {}
            one.links[two] = None

    def crash_with(self, error: Exception) -> None:
        """End the incarnation as if *error* had come out of it."""
        if self.running and self.kill_exit is None:
            self.kill(Crashed(error))

    # -- answers for later ---------------------------------------------------------------------------------------------

    def current(self) -> Envelope:
        """Return the envelope being handled; raise outside of a handler."""
        here = HERE.get()
        if self.envelope is None or here is not self:
            raise RuntimeFault(f"{self.address}: no message is being handled here")
        return self.envelope

    def defer(self) -> Deferred[Any]:
        """Promise an answer to the current message."""
        slot = self.current()[3]
        if not isinstance(slot, Slot):
            return Deferred(None, None)  # told, not asked: the answer goes nowhere
        deferred: Deferred[Any] = Deferred(slot, self)  # type: ignore[arg-type]  # an ActorCell
        if self.deferred is None:
            self.deferred = {}
        elif len(self.deferred) > self.prune_above:
            self.deferred = {promise: None for promise in self.deferred if not promise.done}
            # Twice what is left: looking at them all is then paid for by the promises made since.
            self.prune_above = max(_PRUNE_ABOVE, 2 * len(self.deferred))
        self.deferred[deferred] = None
        return deferred

    def forget_deferred(self, deferred: Deferred[Any]) -> None:
        """The promise was kept."""
        if self.deferred is not None:
            self.deferred.pop(deferred, None)

    def forward(self, address: str, message: Ask[Any]) -> Deferred[Any]:
        """Hand the current message's place for an answer to *address*, with *message*."""
        _, sender, origin, parcel, _ = self.current()
        slot = parcel if isinstance(parcel, Slot) else None
        self._relay(address, (message, sender, origin, slot, self.system.now()))
        return Deferred(slot, None)

    def relay(self, slot: Slot, address: str, message: Ask[Any]) -> None:
        """Hand the place of an answer that was promised earlier to *address*, with *message*."""
        here = HERE.get()
        origin = None if here is None or here.envelope is None else here.envelope[2]
        self._relay(address, (message, self.address, origin, slot, self.system.now()))

    def _relay(self, address: str, envelope: Envelope) -> None:
        slot = envelope[3]
        if isinstance(slot, Slot) and address in slot.chain:
            slot.fail(AskCycle((*slot.chain, address)))
            return
        try:
            self.system.activate(address).deliver(envelope)
        except Exception as error:  # noqa: BLE001 - the asker's trouble, not the forwarder's
            if isinstance(slot, Slot):
                slot.fail(error)
            else:
                self.system.dead_letters.record("not_found", address, envelope)

    # -- stash ---------------------------------------------------------------------------------------------------------

    def stash(self) -> None:
        """Put the current message aside."""
        envelope = self.current()
        box = self.mailbox
        if box.stash is None:
            box.stash = deque()
        limit = type(self.actor).stash_limit if self.actor is not None else 0
        if len(box.stash) >= limit:
            raise MailboxFull(self.address, limit, 1.0)
        box.stash.append(envelope)
        self.stashed = envelope

    def unstash_all(self) -> None:
        """Put the stash back at the head of the lane."""
        box = self.mailbox
        if box.stash:
            box.lane.extendleft(reversed(box.stash))
            box.stash.clear()
            self.wake()

    # -- the end -------------------------------------------------------------------------------------------------------

    def _fail_promises(self, exit: Exit) -> None:
        """Whoever waits for this incarnation learns of its end at once, not at the deadline."""
        slots = [promise._slot for promise in self.deferred or ()]  # noqa: SLF001 - the other half of this module
        self.deferred = None
        envelope, self.envelope = self.envelope, None
        if envelope is not None and envelope is not self.stashed:
            slots.append(envelope[3] if isinstance(envelope[3], Slot) else None)
        for slot in slots:
            if slot is not None and slot.live:
                slot.fail(self.epitaph(exit, "it stopped before it answered"))

    async def _wind_down(self, exit: Exit) -> None:
        """End everything that lived with the incarnation; work is waited for."""
        self._fail_promises(exit)
        for timer in list(self.timers or ()):
            timer.cancel()
        for watch in list(self.watching or ()):
            watch.cancel()
        if self.works:
            # Shielded: whoever cancels us, the exit is not announced while something of ours still runs.
            with trio.CancelScope(shield=True):
                await self.cancel_work()
        actor, self.actor = self.actor, None
        if actor is not None and actor.events is not None:
            actor.events.detach()
        links, self.links = self.links, None
        for other in links or ():
            if other.links is not None:
                other.links.pop(self, None)
            if is_abnormal(exit):
                other.crash_with(LinkedExit(f"{other.address}: {self.address}, linked to it, ended: {exit}"))
        self.stashed = None
        if self.mailbox.stash:
            self.unstash_all()
        if self.mailbox.system:
            self.mailbox.system.clear()  # addressed to this incarnation, not to the next
