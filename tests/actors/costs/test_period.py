"""Which days a question about money means."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.costs.period import LAST_DAY, LONGEST, Period, period
from understudy.actors.errors import Invalid

TODAY = date(2026, 3, 2)
days = st.dates(max_value=LAST_DAY)


@pytest.mark.parametrize(("months", "first"), [(1, date(2026, 3, 1)), (3, date(2026, 1, 1)), (24, date(2024, 4, 1))])
def test_months_are_the_present_one_and_those_before_it(months: int, first: date) -> None:
    found = period(TODAY, months=months)
    assert found == Period(first, TODAY)
    assert len(found.months) == months
    assert (found.months[0], found.months[-1]) == (first, date(2026, 3, 1))


def test_dates_come_before_months_and_what_is_missing_is_derived() -> None:
    start, end = date(2025, 12, 30), date(2026, 2, 28)
    assert period(TODAY, months=3, start=start, end=end) == Period(start, end)
    assert period(TODAY, months=3, start=start) == Period(start, TODAY)
    assert period(TODAY, months=3, end=end) == Period(date(2025, 12, 1), end)
    assert period(TODAY, months=1, start=start, end=end).months == tuple(
        date(year, month, 1) for year, month in ((2025, 12), (2026, 1), (2026, 2))
    )


def test_one_day_is_a_period() -> None:
    assert period(TODAY, months=3, start=TODAY, end=TODAY) == Period(TODAY, TODAY)


@pytest.mark.parametrize(
    ("start", "end", "path", "issue"),
    [
        (TODAY, TODAY - timedelta(days=1), "endDate", "out_of_order"),
        (TODAY + timedelta(days=1), None, "startDate", "out_of_order"),
        (TODAY - timedelta(days=LONGEST), TODAY, "startDate", "too_long"),
        (None, date.max, "endDate", "too_large"),
    ],
)
def test_days_that_cannot_be_are_refused(start: date | None, end: date | None, path: str, issue: str) -> None:
    with pytest.raises(Invalid) as refused:
        period(TODAY, months=3, start=start, end=end)
    assert [(x.path, x.issue) for x in refused.value.details] == [(path, issue)]


def test_the_longest_stretch_is_still_given() -> None:
    start = TODAY - timedelta(days=LONGEST - 1)
    assert period(TODAY, months=3, start=start, end=TODAY) == Period(start, TODAY)


@given(days, st.integers(1, 24), st.none() | days, st.none() | days)
def test_whatever_is_asked_for_is_a_period_or_a_refusal(
    today: date, months: int, start: date | None, end: date | None
) -> None:
    try:
        found = period(today, months=months, start=start, end=end)
    except Invalid:
        return
    assert found.first <= found.last
    assert found.months[0] == found.first.replace(day=1)
    assert found.months[-1] == found.last.replace(day=1)
