"""When a delivery that failed is tried again."""

import random

import attrs


@attrs.frozen
class RetrySchedule:
    """Seconds from one try to the next: with five of them there are six tries, the first at once.

    Each is spread by *jitter* to both sides, so that receivers which were away are not asked by everybody at once. The
    answer of a chat, which somebody waits for now or not at all, has *callback_tries*.
    """

    waits: tuple[float, ...] = (5.0, 30.0, 120.0, 600.0, 3600.0)
    jitter: float = 0.2
    callback_tries: int = 3

    def after(self, tries: int, rng: random.Random, *, callback: bool = False) -> float | None:
        """Seconds until the next try when so many have failed; None when that was the last."""
        most = self.callback_tries if callback else len(self.waits) + 1
        if tries >= most or tries > len(self.waits):
            return None
        return self.waits[tries - 1] * rng.uniform(1 - self.jitter, 1 + self.jitter)
