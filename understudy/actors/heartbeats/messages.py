"""What can be asked about heartbeats, and what they are told.

Everything is asked on behalf of a workspace; a heartbeat of another one is refused with `NotFound`. A change is refused
with `Forbidden` unless whoever asks made the heartbeat or is an admin: it acts as the person who made it. Everything
may be refused with `Unavailable`. A change is committed when it is answered.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from understudy.actors.audit.messages import Author
from understudy.actors.heartbeats.document import HIDDEN as HIDDEN
from understudy.actors.heartbeats.document import HeartbeatDocument as HeartbeatDocument
from understudy.actors.heartbeats.document import Kind as Kind
from understudy.actors.heartbeats.document import Method as Method
from understudy.actors.heartbeats.document import Trigger as Trigger
from understudy.actors.heartbeats.document import shown_headers as shown_headers
from understudy.runtime import Ask
from understudy.storage.heartbeat_records import Heartbeat as Heartbeat
from understudy.storage.heartbeat_records import HeartbeatRun as HeartbeatRun
from understudy.storage.heartbeat_records import RunStatus as RunStatus

HEARTBEATS = "heartbeats/directory"
"""The address of the actor that answers about all of them."""

FIRED = "heartbeat.fired"
"""A run woke its agent, and the agent answered."""

DISABLED = "heartbeat.disabled"
"""A heartbeat failed so often in a row that it was switched off."""


def heartbeat_address(heartbeat_id: str) -> str:
    """The address of the heartbeat's actor."""
    return f"heartbeat/{heartbeat_id}"


@attrs.frozen
class Editor(Author):
    """Who changes a heartbeat. The caller has checked that they may run agents there."""

    admin: bool = False


@attrs.frozen
class HeartbeatView:
    """A heartbeat, what it is set to do, and its newest run that has ended."""

    heartbeat: Heartbeat
    document: HeartbeatDocument
    last_run: HeartbeatRun | None = None


@attrs.frozen
class RunPage:
    """Some runs, newest due time first, of ``total``."""

    runs: tuple[HeartbeatRun, ...]
    total: int


@attrs.frozen
class CreateHeartbeat(Ask[HeartbeatView]):
    """A new heartbeat, due at once. ``interval`` is in seconds.

    Refused with `Invalid`, `NotFound` (agent), `Conflict` when the workspace has no room for more.
    """

    editor: Editor
    document: HeartbeatDocument
    interval: int
    enabled: bool = True


@attrs.frozen
class ListHeartbeats(Ask[tuple[HeartbeatView, ...]]):
    """All heartbeats of the workspace, oldest first; there is a limit on how many it may have."""

    workspace_id: str


@attrs.frozen
class ChangeHeartbeat(Ask[HeartbeatView]):
    """Change some of it. ``fields`` are those of `HeartbeatDocument`; None leaves interval and enabled as they are.

    Switched on again it is due at once and its errors are forgotten. An admin may rename somebody else's, change its
    interval and switch it on and off, and nothing more (`Forbidden`). Refused as `CreateHeartbeat`.
    """

    editor: Editor
    heartbeat_id: str
    fields: Mapping[str, Any] = attrs.field(factory=dict)
    interval: int | None = None
    enabled: bool | None = None


@attrs.frozen
class RunHeartbeat(Ask[Heartbeat]):
    """Have it due at this time, unless it is due before that; the times after count from there.

    Whatever comes of it is a run like any other. Asked again with the same time, it does not run again. Refused with
    `Conflict` while it is switched off.
    """

    editor: Editor
    heartbeat_id: str
    due_at: datetime


@attrs.frozen
class DeleteHeartbeat(Ask[None]):
    """Delete it with its runs; a run that goes on is stopped, and so is its turn."""

    editor: Editor
    heartbeat_id: str


@attrs.frozen
class ListRuns(Ask[RunPage]):
    """The runs of one heartbeat."""

    workspace_id: str
    heartbeat_id: str
    limit: int = 20
    offset: int = 0


@attrs.frozen
class Look:
    """Told to a heartbeat: see in the database whether there is something to do."""


@attrs.frozen
class Retire:
    """Told to a heartbeat: it was deleted. Stop at once, with what runs."""
