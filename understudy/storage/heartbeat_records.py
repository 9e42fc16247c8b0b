"""What storage keeps of heartbeats: values for the actors, like `understudy.storage.records`."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import attrs

from understudy.storage.records import Json, TurnStatus

MOST_SEEN = 1000
"""Keys of items that are kept of one heartbeat, shared evenly by its feeds."""

RUNS_KEPT = 500
"""Runs that are kept of one heartbeat; and none longer than `DAYS_KEPT` days."""

DAYS_KEPT = 30


def share_of_each(feeds: int) -> int:
    """How many keys are kept of each of so many feeds."""
    return MOST_SEEN // max(1, feeds)


class RunStatus(StrEnum):
    """What became of a due time."""

    RUNNING = "running"
    OK = "ok"
    """Looked; there was no reason to wake anybody."""
    UNCHANGED = "unchanged"
    """Looked; nothing is new."""
    TRIGGERED = "triggered"
    """The agent was woken and answered."""
    ERROR = "error"
    """The look, or the agent, failed."""
    SKIPPED = "skipped"
    """The run before it had not ended."""


@attrs.frozen
class Heartbeat:
    """What is looked at, for whom, and when next.

    ``document`` is the configuration and ``state`` what the last look left behind: both are the actors' to read.
    ``next_run_at`` is the next due time, and counts only while it is enabled. ``errors`` are those in a row.
    """

    id: str
    workspace_id: str
    uid: str
    document: Json
    interval: int
    enabled: bool
    next_run_at: datetime
    created_at: datetime
    updated_at: datetime
    state: Json = attrs.field(factory=dict)
    errors: int = 0
    disabled_reason: str | None = None


@attrs.frozen
class HeartbeatRun:
    """One due time and what became of it. ``wake``: what the agent is told, once that is decided."""

    id: str
    heartbeat_id: str
    due_at: datetime
    status: RunStatus
    attempt: int
    owner: str
    lease_until: datetime
    started_at: datetime
    finished_at: datetime | None = None
    wake: Json | None = None
    http_status: int | None = None
    item_count: int = 0
    error: str | None = None
    session_id: str | None = None


@attrs.frozen
class Claim:
    """A due time to take: ``due_at`` must still be the next one, and ``following`` becomes it."""

    run_id: str
    heartbeat_id: str
    due_at: datetime
    following: datetime
    owner: str
    now: datetime
    lease_until: datetime


@attrs.frozen
class RunEnd:
    """How a run ended, and what that leaves behind.

    ``state`` None leaves the state as it was. ``seen`` are the keys that each feed lists now, if that was learnt;
    ``watched`` are all feeds that there are, and what was known of others is forgotten. ``postponed`` puts the next due
    time off, never forward. ``disabled`` is why the heartbeat is switched off with it.
    """

    status: RunStatus
    finished_at: datetime
    http_status: int | None = None
    item_count: int = 0
    error: str | None = None
    session_id: str | None = None
    state: Json | None = None
    seen: Mapping[str, tuple[bytes, ...]] = attrs.field(factory=dict)
    watched: tuple[str, ...] = ()
    errors: int = 0
    postponed: datetime | None = None
    disabled: str | None = None


@attrs.frozen
class Woken:
    """The turn that a run has already started."""

    session_id: str
    turn_id: str
    status: TurnStatus
