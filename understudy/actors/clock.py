"""The wall clock, where nobody hands in another."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present time, in UTC and aware."""
    return datetime.now(UTC)
