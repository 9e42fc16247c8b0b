"""Reports handlers that keep the loop to themselves."""

from __future__ import annotations

import logging
import math
import sys
import threading
import traceback
from time import perf_counter
from typing import TYPE_CHECKING, Self

import trio

from understudy.runtime.actorcell import ActorCell
from understudy.runtime.work import Work

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from understudy.runtime.system import ActorSystem

log = logging.getLogger("understudy.runtime")

_LOOKS = 4  # per threshold: a hold is noticed between once and 1.25 times the threshold


class Watchdog:
    """A thread that samples what the loop's thread is doing. It costs the loop nothing.

    Two looks in a row at the same handler raise a suspicion; the thread then asks the loop for a sign of life. If none
    comes within the threshold, and every look meanwhile showed the same handler, that handler held the loop. It is
    reported, with the stack of the last look, once it lets go.
    """

    def __init__(self, system: ActorSystem, threshold: float | None) -> None:
        self._system = system
        self._threshold = math.inf if threshold is None else threshold
        self._token = trio.lowlevel.current_trio_token()
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        self._alive = threading.Event()
        codes = (ActorCell._loop, ActorCell.serve_at_once, ActorCell._run, Work.run)  # noqa: SLF001
        self._codes: set[CodeType] = {function.__code__ for function in codes}
        self._thread = threading.Thread(target=self._watch, name=f"{system.name} watchdog", daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch the calling thread, unless the threshold is None."""
        if self._threshold < math.inf:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching; returns when the thread has ended, which takes no noticeable time."""
        self._stopped.set()
        self._alive.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        pause = self._threshold / _LOOKS
        last: tuple[object, float] | None = None
        while not self._stopped.wait(pause):
            seen = self._look()[0]
            if seen is not None and seen == last and not self._suspect(seen, pause):
                return
            last = seen

    def _suspect(self, seen: tuple[object, float], pause: float) -> bool:
        """Wait for a sign of life while *seen* runs; False when the loop has gone."""
        self._alive.clear()
        held: list[float] = []
        stack: list[str] = []
        message: list[str | None] = []

        def sign() -> None:
            self._alive.set()
            if stack:
                self._report(seen[0], message[0], held[0], "".join(stack))

        began = perf_counter()
        try:
            self._token.run_sync_soon(sign)
        except trio.RunFinishedError:
            return False
        waited = 2 * pause  # two looks have passed already
        while not self._alive.wait(pause):
            now_seen, frame = self._look()
            if now_seen != seen or frame is None:
                break
            waited = perf_counter() - began + 2 * pause
            held[:] = [waited]
            if waited >= self._threshold:
                # The handler may end between two of these lines: what was known of it stays.
                message[:] = [self._message(seen[0]) or (message[0] if message else None)]
                stack[:] = traceback.format_stack(frame)
            del frame
        self._alive.wait()
        return not self._stopped.is_set()

    def _look(self) -> tuple[tuple[object, float] | None, FrameType | None]:
        """Return which handler the loop is in (owner, and when its message began), and the innermost frame."""
        frame = top = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - there is no public way
        while frame is not None:
            if frame.f_code in self._codes:
                owner = frame.f_locals.get("self")
                began = owner.began if isinstance(owner, ActorCell) else 0.0
                return (owner, began), top
            frame = frame.f_back
        return None, None

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
