"""Due times: always on their grid, always ahead, never twice."""

from datetime import datetime, timedelta

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.storage import START, at
from understudy.actors.heartbeats.document import LEAST_INTERVAL, MOST_INTERVAL
from understudy.actors.heartbeats.schedule import (
    HORIZON,
    LONGEST_PAUSE,
    Leave,
    Take,
    TakeOver,
    Wait,
    following,
    plan,
    postponed,
)
from understudy.storage.heartbeat_records import Heartbeat, HeartbeatRun, RunStatus

intervals = st.integers(LEAST_INTERVAL, MOST_INTERVAL)
moments = st.floats(0, 40 * 86400, allow_nan=False).map(at)


def beat(interval: int = 300, due: float = 0.0, *, enabled: bool = True) -> Heartbeat:
    return Heartbeat("hbt_1", "ws_1", "usr_1", {}, interval, enabled, at(due), START, START)


RUN = HeartbeatRun("hbr_1", "hbt_1", START, RunStatus.RUNNING, 1, "other", at(30), START)


@settings(max_examples=50)
@given(due=moments, interval=intervals, now=moments)
def test_the_next_due_time_is_ahead_of_both_and_on_the_grid_and_the_first_such(
    due: datetime, interval: int, now: datetime
) -> None:
    step = timedelta(seconds=interval)
    after = following(due, interval, now)
    assert after > due
    assert after > now
    assert (after - due) % step == timedelta(0)
    assert after - step <= max(due, now)


@settings(max_examples=50)
@given(due=moments, interval=intervals, errors=st.integers(0, 40), late=st.floats(0, 90_000))
def test_a_pause_after_errors_is_on_the_grid_too_and_no_longer_than_it_may_be(
    due: datetime, interval: int, errors: int, late: float
) -> None:
    step, now = timedelta(seconds=interval), due + timedelta(seconds=late)
    later = postponed(due, interval, errors, now)
    if errors < 2:
        assert later is None
        return
    assert later is not None
    assert later > now
    assert (later - due) % step == timedelta(0)
    assert later <= max(due + max(LONGEST_PAUSE, step), following(due, interval, now))


@settings(max_examples=50)
@given(
    interval=intervals,
    errors=st.lists(st.booleans(), max_size=30),
    pauses=st.lists(st.floats(0, 100_000), min_size=30, max_size=30),
)
def test_however_late_and_however_it_fails_no_due_time_comes_twice(
    interval: int, errors: list[bool], pauses: list[float]
) -> None:
    now, due, row = START, START, 0
    taken = []
    for failed, pause in zip(errors, pauses, strict=False):
        now = max(now, due) + timedelta(seconds=pause)
        match plan(beat(interval, (due - START).total_seconds()), None, now=now, owner="me"):
            case Take(due_at, after):
                taken.append(due_at)
                row = row + 1 if failed else 0
                due = max(after, postponed(due_at, interval, row, now) or after)
            case other:
                raise AssertionError(f"{other} at a due time")
    assert taken == sorted(set(taken))
    assert all((moment - START) % timedelta(seconds=interval) == timedelta(0) for moment in taken)


def test_pauses_double_up_to_six_hours_and_long_intervals_stay_as_they_are() -> None:
    hours = [postponed(START, 3600, errors, START) for errors in range(2, 7)]
    assert hours == [at(3600 * n) for n in (2, 4, 6, 6, 6)]
    assert postponed(START, 604_800, 9, START) == at(604_800)


def test_what_somebody_left_comes_before_everything_and_what_somebody_holds_is_waited_for() -> None:
    assert plan(beat(), RUN, now=at(30), owner="me") == TakeOver(RUN)
    assert plan(beat(due=300), RUN, now=at(1), owner="other") == TakeOver(RUN)
    assert plan(beat(due=300), RUN, now=at(1), owner="me") == Wait(at(30))
    assert plan(beat(enabled=False), RUN, now=at(1), owner="me") == Wait(at(30))
    assert plan(beat(), RUN, now=at(1), owner="me") == Take(START, at(300))


def test_only_what_is_due_soon_is_waited_for() -> None:
    soon = HORIZON.total_seconds()
    assert plan(beat(due=soon), None, now=START, owner="me") == Wait(at(soon))
    assert plan(beat(due=soon + 1), None, now=START, owner="me") == Leave()
    assert plan(beat(enabled=False), None, now=at(900), owner="me") == Leave()
    assert plan(attrs.evolve(beat(), next_run_at=at(-9000)), None, now=at(1), owner="me") == Take(at(-9000), at(300))
