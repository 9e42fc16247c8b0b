"""The wall clock, where nobody hands in another."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present time, in UTC and aware."""
    return datetime.now(UTC)


def written(at: datetime) -> str:
    """A moment as others read it, in answers, events and webhooks: RFC 3339 in UTC, with a ``Z``."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
