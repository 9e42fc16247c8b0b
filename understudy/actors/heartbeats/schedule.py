"""When a heartbeat is due next, and what there is to do about it now: pure functions of rows and the time.

Due times lie on a grid: whole intervals after the first. What was due while nobody could look is run once, and the rest
of it passed over.
"""

from datetime import datetime, timedelta
from typing import TypeAlias

import attrs

from understudy.storage.heartbeat_records import Heartbeat, HeartbeatRun

LONGEST_PAUSE = timedelta(hours=6)
"""What errors in a row stretch the interval to, at most; a longer interval stays as it is."""

HORIZON = timedelta(minutes=10)
"""How far ahead of its due time a heartbeat has an actor."""


@attrs.frozen
class TakeOver:
    """Somebody left this run; go on with it."""

    run: HeartbeatRun


@attrs.frozen
class Take:
    """It is due: claim the time, after which the next is ``following``."""

    due_at: datetime
    following: datetime


@attrs.frozen
class Wait:
    """Nothing is to be done before ``until``."""

    until: datetime


@attrs.frozen
class Leave:
    """Nothing is to be done for so long that nobody has to wait for it."""


Step: TypeAlias = TakeOver | Take | Wait | Leave


def plan(heartbeat: Heartbeat, running: HeartbeatRun | None, *, now: datetime, owner: str) -> Step:
    """What *owner* has to do for *heartbeat*, of which *running* is the run that has not ended."""
    if running is not None and (running.owner == owner or running.lease_until <= now):
        return TakeOver(running)
    if heartbeat.enabled and heartbeat.next_run_at <= now:
        return Take(heartbeat.next_run_at, following(heartbeat.next_run_at, heartbeat.interval, now))
    moments = [running.lease_until] if running is not None else []
    if heartbeat.enabled:
        moments.append(heartbeat.next_run_at)
    if not moments or min(moments) > now + HORIZON:
        return Leave()
    return Wait(min(moments))


def following(due_at: datetime, interval: int, now: datetime) -> datetime:
    """The first due time after both *due_at* and *now*, whole intervals (seconds) after *due_at*."""
    step = timedelta(seconds=interval)
    return due_at + max(1, (now - due_at) // step + 1) * step


def postponed(due_at: datetime, interval: int, errors: int, now: datetime) -> datetime | None:
    """When to try again after so many errors in a row; None: when it is due anyway.

    The first error changes nothing, so that an outage is known after two; each one after it doubles the pause.
    """
    if errors < 2:
        return None
    most = max(1, int(LONGEST_PAUSE.total_seconds()) // interval)
    doubled = min(1 << min(errors - 1, 16), most)
    return max(due_at + doubled * timedelta(seconds=interval), following(due_at, interval, now))
