"""Mail that reached nobody: counted, kept for a while, published, and logged now and then."""

from __future__ import annotations

import logging
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from understudy.runtime.context import Envelope
    from understudy.runtime.telemetry import Telemetry

log = logging.getLogger("understudy.runtime")

REASONS: Final = ("not_found", "overflow", "expired", "poison", "stopped", "unhandled")
_LOG_EVERY = 1.0


@attrs.frozen
class DeadLetter:
    """One message that reached nobody. ``at`` is on trio's clock."""

    reason: str
    address: str
    message: object
    sender: str | None
    request_id: str | None
    at: float


class DeadLetters:
    """Where they go. ``counts`` is per reason, since the system started; `recent` holds the last ones."""

    def __init__(self, telemetry: Telemetry, ring: int = 256) -> None:
        self._telemetry = telemetry
        self._ring: deque[DeadLetter] = deque(maxlen=ring)
        self._counts: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self._logged: dict[str, tuple[float, int]] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """How many, per reason."""
        return dict(self._counts)

    @property
    def total(self) -> int:
        """How many in all."""
        return sum(self._counts.values())

    def recent(self) -> tuple[DeadLetter, ...]:
        """Return the last ones, oldest first."""
        return tuple(self._ring)

    def record(self, reason: str, address: str, envelope: Envelope) -> None:
        """Take in one dead letter."""
        message, sender, origin, _, _ = envelope
        now = self._telemetry.now()
        letter = DeadLetter(reason, address, message, sender, origin.request_id if origin else None, now)
        self._counts[reason] += 1
        self._ring.append(letter)
        self._telemetry.dead_letter(letter)
        # One line per reason and second: a flood of dead letters must not become a flood of log lines.
        last, count = self._logged.get(reason, (float("-inf"), 0))
        if now - last >= _LOG_EVERY:
            log.warning(
                "dead letter (%s): %s to %s, %d since the last line",
                reason,
                type(message).__name__,
                address,
                self._counts[reason] - count,
            )
            self._logged[reason] = (now, self._counts[reason])
