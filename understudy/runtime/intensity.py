"""The restart budget: so many within so long."""

from __future__ import annotations

from collections import deque


class Intensity:
    """A list of stamps trimmed to a window, as in OTP's ``add_restart``."""

    __slots__ = ("_stamps", "limit", "window")

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self._stamps: deque[float] = deque()

    def spend(self, now: float) -> bool:
        """Record a restart at *now*; return whether it is still within the budget."""
        self._stamps.append(now)
        return self.spent(now) <= self.limit

    def spent(self, now: float) -> int:
        """Return how many restarts the window that ends at *now* holds."""
        while self._stamps and self._stamps[0] < now - self.window:
            self._stamps.popleft()
        return len(self._stamps)
