"""When a conversation ends by itself."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.session.freshness import has_expired, latest_reset

moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"])
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def expired(
    last: datetime, now: datetime, *, idle: float | None = None, hour: int | None = None, zone: str = "UTC"
) -> bool:
    return has_expired(last, now, idle_timeout=idle, daily_reset_hour=hour, timezone=zone)


@given(moments, moments)
def test_without_rules_a_conversation_never_ends(last: datetime, now: datetime) -> None:
    assert not expired(last, now)


def test_an_idle_conversation_ends_after_its_timeout_and_not_before() -> None:
    assert not expired(NOON - timedelta(minutes=30), NOON, idle=1800)
    assert expired(NOON - timedelta(minutes=30, seconds=1), NOON, idle=1800)


def test_a_conversation_from_before_this_mornings_reset_hour_ends() -> None:
    assert expired(NOON.replace(hour=3), NOON, hour=4)
    assert not expired(NOON.replace(hour=5), NOON, hour=4)


def test_before_the_reset_hour_the_day_before_still_counts() -> None:
    three = NOON.replace(hour=3)
    assert not expired(three - timedelta(hours=10), three, hour=4)
    assert expired(three - timedelta(hours=24), three, hour=4)


def test_the_reset_hour_is_read_on_the_clock_of_the_agents_zone() -> None:
    last = NOON.replace(hour=2, minute=30)  # 03:30 in Berlin
    assert expired(last, NOON, hour=4, zone="Europe/Berlin")
    assert not expired(last, NOON, hour=3, zone="Europe/Berlin")


@given(moments, st.integers(0, 23), zones)
def test_the_latest_reset_is_within_the_last_day_and_shows_the_hour_or_the_one_the_clocks_skipped(
    now: datetime, hour: int, zone: str
) -> None:
    reset = latest_reset(now, hour, zone)
    assert timedelta(0) <= now - reset.astimezone(UTC) <= timedelta(hours=25)
    assert reset.astimezone(ZoneInfo(zone)).hour == hour
