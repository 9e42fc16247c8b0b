"""Which days a question about money means. Pure."""

from datetime import date, timedelta

import attrs

from understudy.actors.errors import Detail, Invalid

LONGEST = 366
"""Days between two given dates."""
LAST_DAY = date(9999, 12, 30)
"""The day after it must be a day too."""


@attrs.frozen
class Period:
    """The days from ``first`` to ``last``, both inclusive, UTC."""

    first: date
    last: date

    @property
    def months(self) -> tuple[date, ...]:
        """The first days of the months that it touches."""
        return tuple(
            date(number // 12, number % 12 + 1, 1) for number in range(_month(self.first), _month(self.last) + 1)
        )


def period(today: date, *, months: int, start: date | None = None, end: date | None = None) -> Period:
    """The present month and those before it, *months* in all; given dates come first, and what is missing is derived.

    Raises `Invalid` for an end before the start and for more than `LONGEST` days.
    """
    last = end or today
    if last > LAST_DAY:
        raise _refused("endDate", "too_large", f"the last day there is is {LAST_DAY}")
    first = start
    if first is None:
        number = max(12, _month(last) - months + 1)
        first = date(number // 12, number % 12 + 1, 1)
    if last < first:
        path = "startDate" if end is None else "endDate"
        raise _refused(path, "out_of_order", "the end is before the start")
    if (start or end) and last - first >= timedelta(days=LONGEST):
        raise _refused("startDate", "too_long", f"at most {LONGEST} days can be asked for at once", LONGEST)
    return Period(first, last)


def _month(day: date) -> int:
    return day.year * 12 + day.month - 1


def _refused(path: str, issue: str, said: str, limit: int | None = None) -> Invalid:
    return Invalid(f"{path}: {said}", details=(Detail(path, issue, limit),))
