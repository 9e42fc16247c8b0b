"""How long to wait after failures in a row. Pure: what failed, how often, and the dice are the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import random


@attrs.frozen
class Backoff:
    """Exponential, with jitter, so that what failed together does not come back together.

    Attributes:
        base: Seconds to wait after the first failure.
        factor: After each further one the wait is this many times longer.
        limit: Never longer than this.
        jitter: How much of a wait chance may take away: 0 nothing, 1 all of it (full jitter).
        stable_after: What has gone well for so many seconds before it fails starts again from the beginning.
    """

    base: float = attrs.field(default=0.05, validator=attrs.validators.ge(0))
    factor: float = attrs.field(default=2.0, validator=attrs.validators.ge(1))
    limit: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    jitter: float = attrs.field(default=0.2, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    stable_after: float = 30.0

    def delay(self, failures: int, rng: random.Random) -> float:
        """Return the seconds to wait after so many *failures* in a row, of which there may be none (0: at once)."""
        if failures <= 0:
            return 0.0
        # Capped before it is raised to the power, so that what fails for days does not overflow a float.
        steps = min(failures - 1, 64)
        longest = min(self.limit, self.base * self.factor**steps)
        return longest * rng.uniform(1 - self.jitter, 1)
