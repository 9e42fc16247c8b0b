"""When things of the schedule are due: arithmetic on days and time zones, and nothing else."""

from datetime import UTC, date, datetime, timedelta, tzinfo

from understudy.actors.jobs.kinds import Scheduled

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_WEEK = 7


def last_due(scheduled: Scheduled, now: datetime, zone: tzinfo) -> datetime:
    """The latest due time up to *now*, both in UTC.

    A time of day that the clocks leave out in spring is due when they have gone forward; one that they show twice in
    autumn is due the first time.
    """
    if scheduled.every is not None:
        return now - (now - _EPOCH) % scheduled.every
    day = now.astimezone(zone).date()
    for back in range(-1, _WEEK + 1):
        due = _on_day(scheduled, day - back * _DAY, zone)
        if due is not None and due <= now:
            return due
    raise AssertionError("a week has every day")


def next_due(scheduled: Scheduled, now: datetime, zone: tzinfo) -> datetime:
    """The first due time after *now*, both in UTC."""
    if scheduled.every is not None:
        return last_due(scheduled, now, zone) + scheduled.every
    day = now.astimezone(zone).date()
    for ahead in range(-1, _WEEK + 2):
        due = _on_day(scheduled, day + ahead * _DAY, zone)
        if due is not None and due > now:
            return due
    raise AssertionError("a week has every day")


def _on_day(scheduled: Scheduled, day: date, zone: tzinfo) -> datetime | None:
    if scheduled.at is None or scheduled.weekday not in {None, day.weekday()}:
        return None
    return datetime.combine(day, scheduled.at, zone).astimezone(UTC)
