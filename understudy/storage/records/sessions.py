"""Conversations: what makes two chats the same one, and the log of what happened in it."""

from datetime import datetime
from enum import StrEnum

import attrs

from understudy.storage.records.values import Json


class SessionStatus(StrEnum):
    """Whether a session still takes turns."""

    ACTIVE = "active"
    ARCHIVED = "archived"


@attrs.frozen
class SessionKey:
    """What makes two chats the same conversation."""

    workspace_id: str
    uid: str
    agent_id: str
    surface: str
    surface_id: str


@attrs.frozen
class Session:
    """A conversation. ``last_seq`` is its newest event.

    ``epoch`` is the fencing number of the actor that may write it, and ``node`` where that actor lives.
    """

    id: str
    key: SessionKey
    status: SessionStatus
    created_at: datetime
    last_active_at: datetime
    epoch: int = 0
    last_seq: int = 0
    message_count: int = 0
    token_count: int = 0
    summary: str | None = None
    archived_at: datetime | None = None
    node: str | None = None


@attrs.frozen
class RunEvent:
    """One event of a session's log; ``data`` is what a stream shows under ``type``."""

    session_id: str
    seq: int
    turn_id: str | None
    type: str
    data: Json
    created_at: datetime
