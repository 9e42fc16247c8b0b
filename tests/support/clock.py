"""A wall clock that stands still until it is told to move."""

from datetime import UTC, datetime, timedelta


class WallClock:
    """Hand the instance in where a ``now`` is wanted."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 8, 0, 0, 250_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.time += timedelta(seconds=seconds)
