"""`ActorCell`: the task of one actor, from its start to its end, and the loop in between.

Longer than most files: the loop, and the way past it for an ask that can be served at once, are two readings of the
same rules, and a change to one is a change to both. How mail comes in is in `mailcell`, what an incarnation owns in
`linkedcell`, what becomes of it when it has ended in `supervisor`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import Abort, checkpoint, current_task, wait_task_rescheduled

from understudy.runtime.actor import Actor
from understudy.runtime.cell import State
from understudy.runtime.context import HERE
from understudy.runtime.crash import Crash
from understudy.runtime.errors import PoisonMessage, Refusal, StartTimeout, Unhandled
from understudy.runtime.exits import Crashed, Exit, Killed, Normal, Shutdown
from understudy.runtime.linkedcell import LinkedCell
from understudy.runtime.mailbox import Mailbox
from understudy.runtime.messages import Down, Raised, WorkDone
from understudy.runtime.poison import Poison
from understudy.runtime.reply import Deferred, Slot
from understudy.runtime.timers import Timer
from understudy.runtime.upkeep import IdleCheck, ProgressCheck

if TYPE_CHECKING:
    from collections.abc import Mapping

    from understudy.runtime.childspec import ChildSpec
    from understudy.runtime.context import Envelope
    from understudy.runtime.supervisor import Supervisor
    from understudy.runtime.system import ActorSystem
    from understudy.runtime.trace import RawEntry

# Messages handled before others get the loop: large enough to make the switch cheap, small enough to be fair.
QUANTUM = 128

IDLE = Shutdown("idle")


class ActorCell(LinkedCell):
    """One actor's task.

    Idle, it is parked without a cancel scope, which would cost a quarter of its memory: a kill wakes it and is noticed.
    The scope is made when the first ``async def`` handler comes along, and kept from then on.
    """

    __slots__ = (
        "began",
        "dynamic",
        "handled",
        "idle_since",
        "kind",
        "passivated",
        "passivating",
        "poison",
        "ring",
    )

    spec: ChildSpec  # type: ignore[mutable-override]  # never reassigned

    def __init__(
        self,
        system: ActorSystem,
        parent: Supervisor,
        spec: ChildSpec,
        address: str,
        kind: str | None = None,
    ) -> None:
        cls: type[Actor] = spec.actor if isinstance(spec.actor, type) else Actor
        limit = cls.mailbox_limit if spec.mailbox_limit is None else spec.mailbox_limit
        super().__init__(system, parent, spec, address, Mailbox(limit, cls.overflow))
        self.dynamic = kind is not None
        self.kind = kind if kind is not None else cls.kind or cls.__name__.lower()
        self.began = 0.0
        self.handled = 0
        self.idle_since = 0.0
        self.ring: deque[RawEntry] | None = None
        self.poison: Poison | None = None
        self.passivating = False
        self.passivated = False

    @property
    def type_name(self) -> str:
        """The actor's class."""
        return self.spec.actor.__qualname__ if isinstance(self.spec.actor, type) else type(self.actor).__qualname__

    # -- orders --------------------------------------------------------------------------------------------------------

    def stop(self, reason: Exit) -> None:
        """Ask the actor to stop after the current message."""
        if self.running and self.ending is None:
            self.ending = reason
            self.signal = True
            self.wake()

    def stop_self(self, exit: Exit | None) -> None:
        """Stop by the actor's own wish."""
        self.stop(Normal() if exit is None else exit)

    def kill(self, exit: Exit | None = None) -> None:
        """Cancel whatever the incarnation is doing."""
        if self.running and self.kill_exit is None:
            self.kill_exit = Killed() if exit is None else exit
            self.signal = True
            if self.scope is not None:
                self.scope.cancel()
            self.wake()

    def suspend(self) -> None:
        """Hold user mail and messages from the system lane, from the next message on."""
        self.suspended = True
        self.signal = True
        if self.state is State.IDLE:
            self.set_state(State.SUSPENDED)

    def resume(self) -> None:
        """Go on."""
        self.suspended = False
        if self.state is State.SUSPENDED:
            self.set_state(State.IDLE)
        self.signal = True
        self.wake()

    def passivate(self) -> None:
        """Leave, if it is still quiet when the loop looks."""
        self.passivating = True
        self.signal = True
        self.wake()

    def is_quiet(self) -> bool:
        """Whether nothing here would be missed: no mail, work, timer, promise or subscriber."""
        box = self.mailbox
        actor = self.actor
        return (
            self.state is State.IDLE
            and not (box.lane or box.system or box.stash or box.waiting)
            and not (self.works or self.timers)
            and not any(not promise.done for promise in self.deferred or ())
            and (actor is None or actor.events is None or not actor.events.readers)
        )

    # -- life ----------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        # One flat coroutine, because every frame in it is paid for by every idle actor.
        HERE.set(self)
        self.signal = True  # the first look settles what was ordered before the task began
        self.suspended = self.passivating = False
        end: Exit | None = None
        try:
            self.actor = actor = self.spec.actor(*self.spec.args, **self.spec.kwargs)
            actor._cell = self  # noqa: SLF001 - the kernel gives the actor its place
            if type(actor).started is not Actor.started:
                await self._await_started(actor)
            if self.kill_exit is None:
                self._begin(actor)
                end = await self._loop(scoped=False)
                if end is None:
                    end = await self._scoped_loop()
            else:
                end = self.kill_exit
        except Exception as error:  # noqa: BLE001 - a crash is a value here
            end = self._crashed(error)
            if self.kill_exit is not None:
                end = self.kill_exit  # it fell over its own feet on the way out
        else:
            if end is not self.kill_exit:
                end = await self._say_goodbye(end)
            elif isinstance(end, Crashed):
                end = self._crashed(end.error)
            else:
                self._note("killed")
        self.set_state(State.STOPPING)
        await self._wind_down(end)
        self._over(end)

    async def _await_started(self, actor: Actor) -> None:
        with trio.CancelScope(deadline=self.system.now() + self.spec.start_timeout) as self.scope:
            if self.kill_exit is not None:
                self.scope.cancel()
            await actor.started()
        scope, self.scope = self.scope, None
        if scope.cancelled_caught and self.kill_exit is None:
            raise StartTimeout(f"{self.address}: started() took longer than {self.spec.start_timeout} s")

    def _begin(self, actor: Actor) -> None:
        """The actor has started: serve mail from now on."""
        cls, spec = type(actor), self.spec
        self.set_state(State.IDLE)
        self.begun = self.epoch
        self.idle_since = self.system.now()
        idle_after = cls.idle_after if spec.idle_after is None else spec.idle_after
        if self.dynamic and idle_after is not None:
            IdleCheck(self, idle_after)
        progress = cls.progress_timeout if spec.progress_timeout is None else spec.progress_timeout
        if progress is not None:
            ProgressCheck(self, progress)
        if self.system.telemetry.active:
            self.system.telemetry.started(self)
        self._notify()

    async def _scoped_loop(self) -> Exit:
        end: Exit | None = None
        with trio.CancelScope() as self.scope:
            if self.kill_exit is not None:
                self.scope.cancel()
            end = await self._loop(scoped=True)
        self.scope = None
        if end is None:
            end = self.kill_exit
        return end if end is not None else Killed("cancelled")

    async def _say_goodbye(self, end: Exit) -> Exit:
        actor = self.actor
        if actor is None or type(actor).stopping is Actor.stopping:
            return end
        self.set_state(State.STOPPING)
        with trio.CancelScope(deadline=self.system.now() + (self.spec.shutdown or 5.0)) as self.scope:
            try:
                await actor.stopping(end)
            except Exception as error:  # noqa: BLE001  # any error of an actor is a crash
                return self._crashed(error)
        if self.scope.cancelled_caught:
            return self.kill_exit or Killed(f"stopping() took longer than {self.spec.shutdown} s")
        return end

    def _over(self, exit: Exit) -> None:
        wanted = self.mailbox.lane or self.mailbox.waiting
        if exit is IDLE and wanted and self.ending is None and self.kill_exit is None:
            # Mail arrived while the actor was leaving: the next incarnation takes it, and nobody hears of an exit.
            self.running = False
            if self.system.telemetry.active:
                self.system.telemetry.stopped(self, exit)
            self.launch()
            return
        self.passivated = exit is IDLE
        super()._over(exit)

    def _crashed(self, error: BaseException) -> Crashed:
        envelope = self.envelope
        message = None if envelope is None else type(envelope[0])
        now = self.system.now()
        self.crash = Crash.of(error, now, message.__name__ if message else None)
        if envelope is not None and message is not None:
            if self.poison is None:
                self.poison = Poison(self.spec.poison_after)
            self.poison.crashed(envelope[0], now)
            self._note("crashed")
        return Crashed(error)

    def _note(self, outcome: str) -> None:
        """Put the message that was cut short into the trace."""
        envelope = self.envelope
        depth = type(self.actor).trace_depth if self.actor is not None else 0
        if envelope is not None and depth:
            seconds = self.system.now() - self.began
            self._trace_ring(depth).append((self.began, type(envelope[0]), envelope[1], envelope[2], outcome, seconds))

    def _trace_ring(self, depth: int) -> deque[RawEntry]:
        """The trace, made when there is something to put into it."""
        if self.ring is None:
            self.ring = deque(maxlen=depth)
        return self.ring

    # -- the loop ------------------------------------------------------------------------------------------------------

    def _attend(self) -> Exit | None:
        """Look at what is not user mail. Return the exit if it is time to go."""
        if self.kill_exit is not None:
            return self.kill_exit
        if self.ending is not None:
            return self.ending
        if self.passivating:
            self.passivating = False
            if self.is_quiet():
                return IDLE
        self.signal = self.suspended or bool(self.mailbox.system)
        return None

    async def _loop(self, *, scoped: bool) -> Exit | None:
        """Handle mail until it is time to go, and return why; None asks for a cancel scope to go on in."""
        actor = self.actor
        if actor is None:
            return Killed("never started")
        box = self.mailbox
        ring = self.ring
        system = self.system
        now = system.now
        telemetry = system.telemetry
        handlers = type(actor).__handlers__
        task = current_task()
        depth = type(actor).trace_depth
        handled = 0
        try:
            while True:
                lane = box.lane
                if len(lane) > box.high_water:
                    box.high_water = len(lane)
                began = now()
                for _ in range(QUANTUM):
                    source = lane
                    if self.signal:
                        end = self._attend()
                        if end is not None:
                            return end
                        if self.suspended:
                            break
                        source = box.system or lane
                    if not source:
                        break
                    envelope = source.popleft()
                    message, sender, origin, parcel, _queued = envelope
                    kind = type(message)
                    handler = handlers.get(kind)
                    if handler is None:
                        self._unhandled(envelope)
                        continue
                    call, awaits = handler
                    if awaits and not scoped:
                        source.appendleft(envelope)
                        return None
                    if parcel is not None and not parcel.begin():
                        self._too_late(envelope)
                        continue
                    if self.poison is not None and self._is_poison(envelope):
                        continue
                    self.envelope = envelope
                    self.began = began
                    try:
                        result = call(actor, message)
                        if awaits:
                            self.handled += handled
                            handled = 0
                            if self.state is not State.BUSY:
                                self.set_state(State.BUSY)
                            result = await result
                    except Refusal as refusal:
                        outcome = "refused"
                        if type(parcel) is Slot:
                            parcel.fail(refusal)
                    else:
                        outcome = "ok"
                        if (
                            parcel is not None
                            and type(parcel) is Slot
                            and type(result) is not Deferred
                            and self.stashed is not envelope
                        ):
                            parcel.reply(result)
                    handled += 1
                    # One reading of the clock per message: the end of this one is the beginning of the next.
                    ended = now()
                    if ring is not None:
                        ring.append((began, kind, sender, origin, outcome, ended - began))
                    elif depth:
                        ring = self._trace_ring(depth)
                        ring.append((began, kind, sender, origin, outcome, ended - began))
                    if telemetry.messages:
                        telemetry.message(self, envelope, outcome, ended - began)
                    began = ended
                self.envelope = self.stashed = None
                self.handled += handled
                handled = 0
                if box.waiting:
                    self.admit()
                if self.suspended:
                    if self.state is not State.SUSPENDED:
                        self.set_state(State.SUSPENDED)
                elif self.state is not State.IDLE:
                    self.set_state(State.IDLE)
                elif system.watchers:
                    system.mark(self)
                if (lane or box.system) and not self.suspended:
                    await checkpoint()
                    continue
                self.idle_since = now()
                box.parked = task
                await wait_task_rescheduled(self._unpark)
        finally:
            self.handled += handled

    # -- without the loop ----------------------------------------------------------------------------------------------

    def at_hand(self, message: object) -> bool:
        """Whether the loop is parked with nothing to do, and a plain ``def`` handler would take *message* next."""
        box = self.mailbox
        actor = self.actor
        if box.parked is None or actor is None or self.signal or box.lane or box.system or self.poison is not None:
            return False
        handler = type(actor).__handlers__.get(type(message))
        return handler is not None and not handler[1]

    def serve_at_once(self, envelope: Envelope) -> None:
        """Handle *envelope* here and now, as the parked loop would in its next step.

        Two switches of task are most of what an ask costs. Nobody can tell the difference: the actor is idle, its mail
        is empty, its handler cannot wait, and whatever it does to itself wakes the loop.
        """
        actor = self.actor
        if actor is None:
            raise RuntimeError(f"{self.address} is parked without an actor")
        message, sender, origin, slot, _queued = envelope
        call, _ = type(actor).__handlers__[type(message)]
        self.envelope = envelope
        self.began = began = self.system.now()
        here = HERE.set(self)
        outcome = "ok"
        try:
            result = call(actor, message)
        except Refusal as refusal:
            outcome = "refused"
            if type(slot) is Slot:
                slot.fail(refusal)
        except Exception as error:  # noqa: BLE001 - a crash is a value here; the envelope stays, for the post-mortem
            self.handled += 1
            self.kill(Crashed(error))
            return
        else:
            if type(slot) is Slot and type(result) is not Deferred and self.stashed is not envelope:
                slot.reply(result)
        finally:
            HERE.reset(here)
        self.envelope = self.stashed = None
        self.handled += 1
        ended = self.system.now()
        self.idle_since = ended
        depth = type(actor).trace_depth
        if depth:
            self._trace_ring(depth).append((began, type(message), sender, origin, outcome, ended - began))
        if self.system.telemetry.messages:
            self.system.telemetry.message(self, envelope, outcome, ended - began)
        if self.system.watchers:
            self.system.mark(self)

    def _unpark(self, _raise_cancel: object) -> Abort:
        self.mailbox.parked = None
        return Abort.SUCCEEDED

    def _unhandled(self, envelope: Envelope) -> None:
        message = envelope[0]
        if isinstance(message, WorkDone):
            if isinstance(message.outcome, Raised):
                self.envelope = envelope
                raise message.outcome.error  # linked: nobody here wants to know, so it is a crash
            return
        if isinstance(message, Down):
            return
        if isinstance(envelope[3], Slot):
            envelope[3].fail(Unhandled(self.address, type(message).__name__))
        self.system.dead_letters.record("unhandled", self.address, envelope)

    def _too_late(self, envelope: Envelope) -> None:
        if not isinstance(envelope[3], Timer):
            self.system.dead_letters.record("expired", self.address, envelope)

    def _is_poison(self, envelope: Envelope) -> bool:
        if self.poison is None or not self.poison.contains(envelope[0], self.system.now()):
            return False
        if isinstance(envelope[3], Slot):
            envelope[3].fail(PoisonMessage(self.address, "equal messages crashed it before; this one was not tried"))
        self.system.dead_letters.record("poison", self.address, envelope)
        return True

    # -- for the tree --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Mapping[str, object]:
        """What the actor says of itself."""
        return self.actor.snapshot() if self.actor is not None else {}
