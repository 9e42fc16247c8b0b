"""Telemetry: a published table of events, always with the same keys."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from understudy.runtime.exits import Crashed, Exit, error_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from understudy.runtime.cell import Cell
    from understudy.runtime.context import Envelope
    from understudy.runtime.deadletters import DeadLetter

log = logging.getLogger("understudy.runtime")


@attrs.frozen
class EventKind:
    """One row of the table: what the event means and which keys it always has."""

    meaning: str
    measurements: tuple[str, ...]
    metadata: tuple[str, ...]


EVENTS: Final[Mapping[str, EventKind]] = MappingProxyType(
    {
        "actor.start": EventKind("An incarnation has started.", ("seconds",), ("address", "kind", "epoch")),
        "actor.stop": EventKind(
            "An incarnation has ended.", ("uptime", "handled"), ("address", "kind", "epoch", "exit")
        ),
        "actor.crash": EventKind(
            "... with an exception.", ("uptime",), ("address", "kind", "epoch", "error", "message")
        ),
        "actor.restart": EventKind("A supervisor will start it again.", ("restarts",), ("address", "kind")),
        "actor.quarantine": EventKind("It crashed too often and is left alone.", ("seconds",), ("address", "kind")),
        "supervisor.escalate": EventKind("A supervisor gives up.", ("restarts",), ("address", "child")),
        "message": EventKind(
            "A message was handled; sent only while somebody listens.",
            ("seconds", "waited"),
            ("address", "kind", "message", "outcome", "request_id"),
        ),
        "dead_letter": EventKind("A message reached nobody.", (), ("address", "reason", "message", "request_id")),
        "loop.held": EventKind(
            "A handler kept everything else from running.", ("seconds",), ("address", "message", "stack")
        ),
        "listener.failed": EventKind("A listener raised and was detached.", (), ("listener", "event", "error")),
    }
)


@attrs.frozen
class TelemetryEvent:
    """One event. ``at`` is on trio's clock; the keys of the mappings are those of `EVENTS`."""

    name: str
    at: float
    measurements: Mapping[str, float]
    metadata: Mapping[str, object]


Listener: TypeAlias = Callable[[TelemetryEvent], None]


class Telemetry:
    """Hands events to listeners, in the task where they happen. Costs an attribute look-up while nobody listens."""

    EVENTS = EVENTS

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self._listeners: dict[str, tuple[Listener, Collection[str] | None]] = {}
        self.active = False
        self.messages = False

    def attach(self, name: str, listener: Listener, events: Collection[str] | None = None) -> None:
        """Call *listener* for each event (of *events*, if given). It must not block.

        A listener that raises is detached and reported, never fatal. A second of the same *name* replaces the first.

        Raises:
            ValueError: *events* names one that does not exist.
        """
        unknown = set(events or ()) - set(EVENTS)
        if unknown:
            raise ValueError(f"no such events: {', '.join(sorted(unknown))}")
        self._listeners[name] = (listener, events)
        self._count()

    def detach(self, name: str) -> None:
        """Call it no more. Harmless if it is not attached."""
        self._listeners.pop(name, None)
        self._count()

    def listeners(self) -> tuple[str, ...]:
        """Return the names of those attached."""
        return tuple(self._listeners)

    def _count(self) -> None:
        self.active = bool(self._listeners)
        self.messages = any(events is None or "message" in events for _, events in self._listeners.values())

    def emit(self, event: str, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        """Tell every listener."""
        if not self._listeners:
            return
        told = TelemetryEvent(event, self.now(), measurements, metadata)
        for name, (listener, events) in list(self._listeners.items()):
            if events is not None and event not in events:
                continue
            try:
                listener(told)
            except Exception as error:
                log.exception("telemetry listener %r raised and was detached", name)
                self.detach(name)
                self.emit("listener.failed", {}, {"listener": name, "event": event, "error": repr(error)})

    # One method per row, so that the keys cannot drift apart from the table.

    def started(self, cell: Cell) -> None:
        """`actor.start`."""
        self.emit("actor.start", {"seconds": self.now() - cell.since}, _who(cell))

    def stopped(self, cell: Cell, exit: Exit) -> None:
        """`actor.stop`, and `actor.crash` before it where it was one."""
        uptime = self.now() - cell.since
        if isinstance(exit, Crashed):
            message = cell.crash.message if cell.crash is not None else None
            self.emit(
                "actor.crash", {"uptime": uptime}, {**_who(cell), "error": repr(error_of(exit)), "message": message}
            )
        handled = float(getattr(cell, "handled", 0))
        self.emit("actor.stop", {"uptime": uptime, "handled": handled}, {**_who(cell), "exit": exit})

    def restarting(self, cell: Cell) -> None:
        """`actor.restart`."""
        self.emit("actor.restart", {"restarts": cell.restarts + 1}, {"address": cell.address, "kind": cell.kind})

    def quarantined(self, cell: Cell, seconds: float) -> None:
        """`actor.quarantine`."""
        self.emit("actor.quarantine", {"seconds": seconds}, {"address": cell.address, "kind": cell.kind})

    def escalated(self, supervisor: Cell, child: Cell) -> None:
        """`supervisor.escalate`."""
        self.emit(
            "supervisor.escalate",
            {"restarts": float(supervisor.restarts)},
            {"address": supervisor.address, "child": child.address},
        )

    def message(self, cell: Cell, envelope: Envelope, outcome: str, seconds: float) -> None:
        """`message`."""
        message, _, origin, _, queued = envelope
        metadata = {
            "address": cell.address,
            "kind": cell.kind,
            "message": type(message).__name__,
            "outcome": outcome,
            "request_id": origin.request_id if origin else None,
        }
        self.emit("message", {"seconds": seconds, "waited": max(0.0, self.now() - queued - seconds)}, metadata)

    def dead_letter(self, letter: DeadLetter) -> None:
        """`dead_letter`."""
        metadata = {
            "address": letter.address,
            "reason": letter.reason,
            "message": type(letter.message).__name__,
            "request_id": letter.request_id,
        }
        self.emit("dead_letter", {}, metadata)

    def loop_held(self, address: str | None, message: str | None, seconds: float, stack: str) -> None:
        """`loop.held`."""
        self.emit("loop.held", {"seconds": seconds}, {"address": address, "message": message, "stack": stack})


def _who(cell: Cell) -> dict[str, object]:
    return {"address": cell.address, "kind": cell.kind, "epoch": cell.epoch}
