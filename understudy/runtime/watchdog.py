"""Reports handlers that keep the loop to themselves."""

from __future__ import annotations

import gc
import logging
import math
import sys
import threading
import traceback
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Self

import trio

from understudy.runtime.actorcell import ActorCell
from understudy.runtime.work import Work

if TYPE_CHECKING:
    from types import CodeType

    from understudy.runtime.system import ActorSystem

log = logging.getLogger("understudy.runtime")

_LOOKS = 4  # per threshold: a hold is noticed between once and 1.25 times the threshold


class _Passes(trio.abc.Instrument):
    """Counts the loop's passes: ``number`` is odd while tasks run, even while the loop waits for something."""

    def __init__(self) -> None:
        self.number = 1  # a task installs it: the loop is in a pass

    def before_io_wait(self, timeout: float) -> None:
        self.number += 1

    def after_io_wait(self, timeout: float) -> None:
        self.number += 1


class Watchdog:
    """A thread that looks for a pass of the loop that does not end. It costs the loop two increments per pass.

    Two looks in a row at the same pass raise a suspicion; the thread then asks the loop for a sign of life. If none
    comes within the threshold, and every look meanwhile showed the same handler, that handler held the loop. It is
    reported, with the stack of the last look, once it lets go.

    Another thread's frames are looked at while that thread is suspected, never otherwise: CPython 3.11 was seen to hand
    out a caller that was no frame any more when the loop ran on meanwhile.
    """

    def __init__(self, system: ActorSystem, threshold: float | None) -> None:
        self._system = system
        self._threshold = math.inf if threshold is None else threshold
        self._token = trio.lowlevel.current_trio_token()
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        self._alive = threading.Event()
        self._passes = _Passes()
        codes = (ActorCell._loop, ActorCell.serve_at_once, ActorCell._run, Work.run)  # noqa: SLF001
        self._codes: set[CodeType] = {function.__code__ for function in codes}
        self._thread = threading.Thread(target=self._watch, name=f"{system.name} watchdog", daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch the calling thread, unless the threshold is None."""
        if self._threshold < math.inf:
            trio.lowlevel.add_instrument(self._passes)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching; returns when the thread has ended, which takes no noticeable time."""
        self._stopped.set()
        self._alive.set()
        if self._thread.is_alive():
            self._thread.join()
            trio.lowlevel.remove_instrument(self._passes)

    def _watch(self) -> None:
        pause = self._threshold / _LOOKS
        last = 0
        while not self._stopped.wait(pause):
            seen = self._passes.number
            if seen % 2 and seen == last and not self._suspect(pause):
                return
            last = seen

    def _suspect(self, pause: float) -> bool:
        """Wait for a sign of life while one handler runs; False when the loop has gone."""
        self._alive.clear()
        seen = self._look()
        began = perf_counter() - pause  # a look has passed already
        stack: list[str] = []
        message: str | None = None
        try:
            self._token.run_sync_soon(self._alive.set)
            while not self._alive.wait(pause):
                now_seen = self._look()
                if now_seen is None or seen is None or now_seen[:2] != seen[:2]:
                    break
                if perf_counter() - began >= self._threshold:
                    # The handler may end between two of these lines: what was known of it stays.
                    message = self._message(seen[0]) or message
                    stack = traceback.format_stack(now_seen[2])
                del now_seen
            self._alive.wait()
            if stack and seen is not None and not self._stopped.is_set():
                held = perf_counter() - began
                self._token.run_sync_soon(self._report, seen[0], message, held, "".join(stack))
        except trio.RunFinishedError:
            return False
        return not self._stopped.is_set()

    def _look(self) -> tuple[object, float, FrameType] | None:
        """Return which handler the loop is in: its owner, when its message began, and the innermost frame."""
        collecting = gc.isenabled()
        gc.disable()  # before 3.12 to ask for a frame's caller may collect, and so let the loop's thread run on
        try:
            frame = top = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - there is no public way
            while isinstance(frame, FrameType):
                if frame.f_code in self._codes and top is not None:
                    owner = frame.f_locals.get("self")
                    return owner, owner.began if isinstance(owner, ActorCell) else 0.0, top
                frame = frame.f_back
            return None
        finally:
            if collecting:
                gc.enable()

    @staticmethod
    def _message(owner: object) -> str | None:
        if isinstance(owner, ActorCell):
            envelope = owner.envelope
            return None if envelope is None else type(envelope[0]).__name__
        return getattr(owner, "name", None)

    def _report(self, owner: object, message: str | None, seconds: float, stack: str) -> None:
        """Tell the world. Runs in the loop's thread."""
        address = getattr(owner, "address", None)
        log.warning("%s held the loop for %.3f s while handling %s\n%s", address, seconds, message, stack)
        self._system.telemetry.loop_held(address, message, seconds, stack)
