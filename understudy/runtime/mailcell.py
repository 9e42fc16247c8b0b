"""How mail gets into an actor's cell, and out of it again when the actor is gone."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from understudy.runtime.cell import Cell, State
from understudy.runtime.context import HERE, Bound
from understudy.runtime.errors import AskCycle, AskTimeout, MailboxFull, RuntimeFault
from understudy.runtime.exits import Exit, Normal, Shutdown
from understudy.runtime.mailbox import Mailbox, Overflow
from understudy.runtime.reply import Slot

if TYPE_CHECKING:
    from understudy.runtime.childspec import ChildSpec
    from understudy.runtime.context import Envelope, Parcel
    from understudy.runtime.messages import Ask
    from understudy.runtime.supervisor import Supervisor
    from understudy.runtime.system import ActorSystem

DEFAULT_TIMEOUT = 5.0


class Expiry:
    """Rides with a told message that has a best-before date."""

    __slots__ = ("best_before", "system")

    def __init__(self, system: ActorSystem, best_before: float) -> None:
        self.system = system
        self.best_before = best_before

    def begin(self) -> bool:
        """Whether it is still good."""
        return self.system.now() < self.best_before


class MailCell(Cell):
    """A cell with a mailbox."""

    __slots__ = ("signal",)

    mailbox: Mailbox  # type: ignore[mutable-override]  # from the first to the last

    def __init__(
        self, system: ActorSystem, parent: Supervisor, spec: ChildSpec, address: str, mailbox: Mailbox
    ) -> None:
        super().__init__(system, parent, spec, address)
        self.mailbox = mailbox
        # True when the loop has something to look at besides user mail.
        self.signal = False

    def wake(self) -> None:
        """Wake the parked incarnation, if it is parked."""
        box = self.mailbox
        task = box.parked
        if task is not None:
            box.parked = None
            reschedule(task)

    # -- in ------------------------------------------------------------------------------------------------------------

    def tell(self, message: object, expires_in: float | None = None) -> None:
        """Queue *message* for whoever is at this address now; a dead letter if nobody is."""
        now = self.system.now()
        here = HERE.get()
        sender = origin = None
        if here is not None:
            sender = here.address
            origin = None if here.envelope is None else here.envelope[2]
        expiry = None if expires_in is None else Expiry(self.system, now + expires_in)
        self.deliver((message, sender, origin, expiry, now))

    def deliver(self, envelope: Envelope) -> None:
        """Queue *envelope* here, or at this cell's successor.

        A told message that finds nobody is a dead letter; an ask raises what `Ref.ask` promises.
        """
        box = self.mailbox
        if len(box.lane) < box.room or (self.state is not State.ENDED and box.open()):
            box.lane.append(envelope)
            if box.parked is not None:
                self.wake()
        elif self.state is State.ENDED:
            self._reroute(envelope)
        elif box.overflow is Overflow.DROP_OLDEST:
            self._turn_away(box.lane.popleft(), "overflow")
            box.lane.append(envelope)
        else:
            raise self._full()

    def _full(self) -> MailboxFull:
        box = self.mailbox
        # The head has waited this long for its turn, so a newcomer would wait about as long.
        age = self.system.now() - box.lane[0][4] if box.lane else 0.0
        return MailboxFull(self.address, box.limit, max(age, 0.1))

    def _reroute(self, envelope: Envelope) -> None:
        try:
            successor = self.system.successor(self)
        except RuntimeFault:
            if isinstance(envelope[3], Slot):
                raise
            successor = None
        if successor is not None:
            successor.deliver(envelope)
        elif isinstance(envelope[3], Slot):
            raise self.obituary()
        else:
            self.system.dead_letters.record("not_found", self.address, envelope)

    async def send(self, message: object, timeout: float | None = None) -> None:
        """Queue *message*, waiting for room if the mailbox blocks."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._must_wait():
            now = self.system.now()
            here = HERE.get()
            origin = None if here is None or here.envelope is None else here.envelope[2]
            envelope: Envelope = (message, None if here is None else here.address, origin, None, now)
            await self._wait_for_room(envelope, now + (DEFAULT_TIMEOUT if timeout is None else timeout))
        else:
            self.tell(message)
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _must_wait(self) -> bool:
        box = self.mailbox
        full = bool(box.waiting) or len(box.lane) >= box.limit
        return full and box.overflow is Overflow.BLOCK and self.state is not State.ENDED

    async def _wait_for_room(self, envelope: Envelope, deadline: float) -> None:
        """Stand in line until the envelope is in the lane. Cancelled means not queued."""
        box = self.mailbox
        ticket = (envelope, current_task())
        if box.waiting is None:
            box.waiting = deque()
        box.waiting.append(ticket)

        def abort(_raise_cancel: object) -> Abort:
            if box.waiting is not None:
                box.waiting.remove(ticket)
            return Abort.SUCCEEDED

        with trio.CancelScope(deadline=deadline) as scope:
            await wait_task_rescheduled(abort)
        if scope.cancelled_caught:
            raise self._full()
        if self.state is State.ENDED:
            # Let in by `_close`, which empties the line: nobody took the envelope.
            self._reroute(envelope)

    def admit(self) -> None:
        """Let senders that wait for room put their mail into the lane, first come first served."""
        box = self.mailbox
        while box.waiting and len(box.lane) < box.limit:
            envelope, task = box.waiting.popleft()
            box.lane.append(envelope)
            reschedule(task)

    async def ask(self, message: Ask[object], timeout: float | None = None) -> object:
        """Queue *message* with a place for its answer, and wait for that."""
        system = self.system
        now = system.now()
        if timeout is None:
            deadline = now + DEFAULT_TIMEOUT
        elif timeout < math.inf:
            deadline = now + timeout
        else:
            raise ValueError("an ask always has a deadline")
        sender = origin = None
        chain: tuple[str, ...] = ()
        here = HERE.get()
        if here is not None:
            sender = here.address
            outer = here.envelope
            if outer is not None:
                origin = outer[2]
                bound = outer[3]
                if isinstance(bound, Slot | Bound):
                    deadline = min(deadline, bound.deadline)
                    chain = bound.chain
            if isinstance(here, MailCell):
                chain = (*chain, here.address)
                if self.address in chain:
                    raise AskCycle((*chain, self.address))
        if deadline <= now:
            raise AskTimeout(self.address, type(message).__name__, max(0.0, deadline - now))
        slot = Slot(system, self.address, type(message), now, deadline, chain)
        envelope: Envelope = (message, sender, origin, slot, now)
        if self.at_hand(message):
            await system.breathe()
            if self.at_hand(message):  # others ran meanwhile
                system.schedule.at(deadline, slot)
                self.serve_at_once(envelope)
                return await slot.wait()
        if self._must_wait():
            await self._wait_for_room(envelope, deadline)
            if not slot.live:
                return await slot.wait()
        else:
            self.deliver(envelope)
        system.schedule.at(deadline, slot)
        return await slot.wait()

    def at_hand(self, message: object) -> bool:
        """Whether *message* would be handled at once if it were queued, and without waiting for anything."""
        return False

    def serve_at_once(self, envelope: Envelope) -> None:
        """Handle *envelope*, which is `at_hand`, in the asker's own step."""
        raise NotImplementedError

    def put_own(self, message: object, parcel: Parcel) -> None:
        """Queue a timer's message, whatever the limit: the owner's own timers are bound enough."""
        self.mailbox.open()
        self.mailbox.lane.append((message, self.address, None, parcel, self.system.now()))
        self.wake()

    def put_system(self, message: object) -> None:
        """Queue a message of the kernel's on the system lane."""
        box = self.mailbox
        if box.system is None:
            box.system = deque()
        box.system.append((message, None, None, None, self.system.now()))
        self.signal = True
        self.wake()

    # -- out -----------------------------------------------------------------------------------------------------------

    def _turn_away(self, envelope: Envelope, why: str) -> None:
        """Drop *envelope*: an ask fails, and either way it is a dead letter."""
        slot = envelope[3]
        if isinstance(slot, Slot):
            slot.fail(self._full() if why == "overflow" else self.obituary())
        self.system.dead_letters.record(why, self.address, envelope)

    def _close(self, exit: Exit) -> None:
        """Answer whoever still waits; from now on mail is rerouted or dead."""
        box = self.mailbox
        why = "stopped" if isinstance(self.exit, Normal | Shutdown) else "not_found"
        left = [*(box.stash or ()), *box.lane]
        box.close()
        box.lane.clear()
        for envelope in left:
            self._turn_away(envelope, why)
        waiting, box.waiting = box.waiting, None
        for _, task in waiting or ():
            reschedule(task)
