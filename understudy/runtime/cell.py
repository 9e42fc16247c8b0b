"""`Cell`: the kernel's side of an actor or supervisor. Incarnations come and go; address, mail and monitors stay."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, ClassVar

from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from understudy.runtime.errors import ActorCrashed, NotRunning
from understudy.runtime.exits import Crashed, Exit, Killed
from understudy.runtime.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import trio

    from understudy.runtime.childspec import Spec
    from understudy.runtime.context import Envelope
    from understudy.runtime.crash import Crash
    from understudy.runtime.intensity import Intensity
    from understudy.runtime.mailbox import Mailbox
    from understudy.runtime.messages import Ask
    from understudy.runtime.monitors import Monitor
    from understudy.runtime.schedule import Call
    from understudy.runtime.supervisor import Supervisor
    from understudy.runtime.system import ActorSystem


class State(enum.Enum):
    """Where a cell stands."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    SUSPENDED = "suspended"
    BACKING_OFF = "backing off"
    STOPPING = "stopping"
    ENDED = "ended"


class Cell:
    """What supervisors see of a child, be it an actor or a supervisor.

    A cell runs one incarnation at a time, each in one task. The life of an incarnation: `launch`, then `stop` (asked)
    or `kill` (cancelled) or its own end, then `_over`, which tells the supervisor; which then either launches the next
    one or buries the cell.
    """

    __slots__ = (
        "_waiters",
        "address",
        "adopted",
        "attempts",
        "backoff",
        "begun",
        "crash",
        "ending",
        "epoch",
        "exit",
        "expected",
        "final",
        "forced",
        "free",
        "id",
        "intensity",
        "kill_exit",
        "last_word",
        "mailbox",
        "monitors",
        "parent",
        "restarts",
        "running",
        "scope",
        "since",
        "spec",
        "state",
        "suspended",
        "system",
        "turn",
    )

    kind: str
    is_supervisor: ClassVar[bool] = False

    def __init__(self, system: ActorSystem, parent: Supervisor | None, spec: Spec, address: str) -> None:
        self.system = system
        self.parent = parent
        self.spec = spec
        self.id = spec.id
        self.address = address
        self.state = State.BACKING_OFF
        self.epoch = 0
        self.since = 0.0
        self.running = False
        self.suspended = False
        self.scope: trio.CancelScope | None = None
        self.mailbox: Mailbox | None = None
        self.monitors: dict[Monitor, None] | None = None
        self._waiters: list[Task] | None = None
        # How the present incarnation is to end, and how the last one did.
        self.ending: Exit | None = None
        self.kill_exit: Exit | None = None
        self.exit: Exit | None = None
        # What the supervisor needs to know of that end: stopped by itself (expected), never to return (final), ordered
        # by an operator (free of charge), to be started again whatever the policy (forced).
        self.expected = False
        self.final = False
        self.free = False
        self.forced = False
        # Made while its supervisor was running already (adopted): if it never starts, it is not kept.
        self.adopted = False
        self.begun = 0  # the last incarnation whose start was finished
        self.turn = 0
        self.attempts = 0
        self.backoff: Call | None = None
        self.restarts = 0
        self.intensity: Intensity | None = None
        self.crash: Crash | None = None
        self.last_word: Exception | None = None

    @property
    def type_name(self) -> str:
        """The name of the class that runs here."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.type_name} {self.address!r} {self.state.value}>"

    @property
    def ref(self) -> Ref:
        """A reference to the present incarnation."""
        return Ref(self.address, self.epoch, self)

    # -- for supervisors and operators ---------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the next incarnation. Returns at once; `wait_settled` waits for `started()`."""
        self._end_backoff()
        self.epoch = next(self.system.epochs)
        self.since = self.system.now()
        self.ending = self.kill_exit = self.exit = None
        self.expected = self.final = self.free = self.forced = False
        self.running = True
        self.set_state(State.STARTING)
        self.system.start_task(self._run, self.address)

    async def _run(self) -> None:
        raise NotImplementedError

    def stop(self, reason: Exit) -> None:
        """Ask the incarnation to stop. Returns at once."""
        raise NotImplementedError

    def kill(self, exit: Exit | None = None) -> None:
        """Cancel the incarnation. Returns at once."""
        raise NotImplementedError

    def suspend(self) -> None:
        """Serve no user mail until `resume`."""
        raise NotImplementedError

    def resume(self) -> None:
        """Serve user mail again."""
        raise NotImplementedError

    def bury(self, exit: Exit) -> None:
        """The cell has ended for good: forget the name, then tell everybody who waits for it."""
        if self.state is State.ENDED:
            return
        self.exit = exit
        self.state = State.ENDED
        self._end_backoff()
        # Forgotten first: whoever hears of the exit may ask for the same address at once, and must not meet the dead.
        self.system.forget(self)
        self._close(exit)
        self._notify()
        monitors, self.monitors = self.monitors, None
        for monitor in monitors or ():
            monitor.tell(exit)

    def _end_backoff(self) -> None:
        backoff, self.backoff = self.backoff, None
        if backoff is not None:
            backoff.cancel()

    def _close(self, exit: Exit) -> None:
        """Answer what still waits for the dead."""

    def _over(self, exit: Exit) -> None:
        """The incarnation has ended, with everything that was linked to it. Last act of its task."""
        self.running = False
        self.scope = None
        self.exit = exit
        self.set_state(State.BACKING_OFF)
        system = self.system
        if system.telemetry.active:
            system.telemetry.stopped(self, exit)
        if isinstance(exit, Crashed):
            system.note_crash(self)
        self._notify()
        if self.parent is not None:
            self.parent.child_over(self)
        else:
            system.root_over(exit)

    # -- for those who wait --------------------------------------------------------------------------------------------

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, None
        for task in waiters or ():
            reschedule(task)

    async def wait_change(self) -> None:
        """Wait for the next start, end or burial."""
        task = current_task()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(task)

        def abort(_raise_cancel: object) -> Abort:
            if self._waiters is not None:
                self._waiters.remove(task)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    async def wait_settled(self) -> bool:
        """Wait until the present incarnation has started (True) or has ended without that (False)."""
        epoch = self.epoch
        while self.epoch == epoch and self.running and self.state is State.STARTING:
            await self.wait_change()
        return self.begun >= epoch

    async def wait_over(self) -> None:
        """Wait until the present incarnation has ended."""
        epoch = self.epoch
        while self.running and self.epoch == epoch:
            await self.wait_change()

    async def wait_started(self) -> None:
        """Wait until some incarnation has started, across restarts.

        Raises:
            NotRunning, ActorCrashed, Quarantined, Refusal: The cell was buried instead; see `obituary`.
        """
        while self.state is State.STARTING or not self.running:
            if self.state is State.ENDED:
                raise self.obituary()
            await self.wait_change()

    def obituary(self) -> Exception:
        """Return what to tell somebody who wanted something of the dead."""
        return self.last_word or self.epitaph(self.exit, "it has stopped")

    def epitaph(self, exit: Exit | None, stopped: str) -> Exception:
        """Return what *exit* was of, as an error; *stopped* says it for an end in order."""
        match exit:
            case Crashed(error):
                crashed = ActorCrashed(self.address, f"crashed: {error!r}")
                crashed.__cause__ = error
                return crashed
            case Killed(reason):
                return ActorCrashed(self.address, reason)
            case _:
                return NotRunning(self.address, stopped)

    # -- for the tree --------------------------------------------------------------------------------------------------

    def set_state(self, state: State) -> None:
        """Change the state, and tell the tree's watchers."""
        self.state = state
        if self.system.watchers:
            self.system.mark(self)

    def changed(self) -> None:
        """Tell the tree's watchers that there is something new to see here."""
        if self.system.watchers:
            self.system.mark(self)

    def children_view(self) -> Sequence[Cell]:
        """The children, in starting order."""
        return ()

    def snapshot(self) -> Mapping[str, object]:
        """What `inspect` shows."""
        return {}

    # -- mail; supervisors take none -----------------------------------------------------------------------------------

    def wake(self) -> None:
        """Wake the parked incarnation."""

    def tell(self, message: object, expires_in: float | None = None) -> None:
        """Queue *message*, off the fast path."""
        self.system.dead_letters.record("unhandled", self.address, (message, None, None, None, self.system.now()))

    async def send(self, message: object, timeout: float | None = None) -> None:
        """Queue *message*, waiting for room."""
        self.tell(message)

    async def ask(self, message: Ask[object], timeout: float | None = None) -> object:
        """Ask; supervisors answer nothing."""
        raise NotRunning(self.address, "a supervisor takes no messages")

    def deliver(self, envelope: Envelope) -> None:
        """Queue an envelope made elsewhere."""
        self.system.dead_letters.record("unhandled", self.address, envelope)
