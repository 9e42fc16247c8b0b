"""When a conversation is over by itself: idle for too long, or a new day has begun."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo


def has_expired(
    last_active_at: datetime,
    now: datetime,
    *,
    idle_timeout: float | None,
    daily_reset_hour: int | None,
    timezone: str,
) -> bool:
    """Whether a session last active then must be replaced before its next turn.

    *idle_timeout* is in seconds; *daily_reset_hour* is 0 to 23 on the clock of *timezone*; None means never.
    """
    if idle_timeout is not None and (now - last_active_at).total_seconds() > idle_timeout:
        return True
    if daily_reset_hour is None:
        return False
    return last_active_at < latest_reset(now, daily_reset_hour, timezone)


def latest_reset(now: datetime, hour: int, timezone: str) -> datetime:
    """The last moment at or before *now* at which the clock of *timezone* showed *hour*."""
    local = now.astimezone(ZoneInfo(timezone))
    today = local.replace(hour=hour, minute=0, second=0, microsecond=0)
    return today if today <= local else today - timedelta(days=1)
