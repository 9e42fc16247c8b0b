"""Clocks on the wall: one that stands still until it is told to move, and the real one, at a good time of day."""

from datetime import UTC, datetime, timedelta

import trio


class WallClock:
    """Hand the instance in where a ``now`` is wanted."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 8, 0, 0, 250_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.time += timedelta(seconds=seconds)


async def day_with_time_left(seconds: float = 40.0) -> None:
    """Return when the day (in UTC) has so long to go: what is counted by it begins anew at its end, on any server."""
    now = datetime.now(UTC)
    left = (now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1) - now).total_seconds()
    if left < seconds:
        await trio.sleep(left + 1)
