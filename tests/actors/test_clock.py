"""How moments are written for others."""

from datetime import UTC, datetime, timedelta, timezone

from understudy.actors.clock import utc_now, written


def test_a_moment_is_written_in_utc_with_a_z_and_read_back_as_it_was() -> None:
    vienna = datetime(2026, 3, 2, 10, 15, tzinfo=timezone(timedelta(hours=1)))
    assert written(vienna) == "2026-03-02T09:15:00Z"
    assert written(datetime(2026, 3, 2, 9, 15, 0, 250_000, UTC)) == "2026-03-02T09:15:00.250000Z"
    now = utc_now()
    assert datetime.fromisoformat(written(now)) == now
