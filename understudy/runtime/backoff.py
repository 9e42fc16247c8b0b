"""How long to wait before the next restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import random


@attrs.frozen
class Backoff:
    """Exponential, with jitter. The first restart after a stable time is immediate: most crashes are accidents.

    Attributes:
        base: Seconds before the second restart.
        factor: Each further one waits this many times longer.
        limit: Never longer than this.
        jitter: Spread: a wait is multiplied by a number drawn from ``1 ± jitter``.
        stable_after: A child that has run this long starts again from the beginning.
    """

    base: float = 0.05
    factor: float = 2.0
    limit: float = 30.0
    jitter: float = 0.2
    stable_after: float = 30.0

    def delay(self, attempt: int, rng: random.Random) -> float:
        """Return the seconds to wait before restart number *attempt* (0 is the first)."""
        if attempt <= 0:
            return 0.0
        # Capped before it is raised to the power, so that a child that crashes for days does not overflow a float.
        steps = min(attempt - 1, 64)
        seconds = min(self.limit, self.base * self.factor**steps)
        return seconds * rng.uniform(1 - self.jitter, 1 + self.jitter)
