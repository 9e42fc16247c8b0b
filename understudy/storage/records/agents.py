"""Agents: each version of one, the one that counts, and how it fares."""

from datetime import datetime

import attrs

from understudy.storage.records.values import Json


@attrs.frozen
class AgentVersion:
    """One version of an agent. ``id`` is its own and never comes again, also not when its agent is made anew."""

    id: str
    version: int
    config: Json
    created_at: datetime
    created_by: str | None = None
    label: str | None = None


@attrs.frozen
class Agent:
    """An agent as it is now. Without a ``workspace_id`` it is every workspace's.

    ``key`` is its row's, ``id`` the word its workspace knows it by.
    """

    key: str
    workspace_id: str | None
    id: str
    current: AgentVersion
    created_at: datetime
    updated_at: datetime


@attrs.frozen
class AgentHealth:
    """An agent that failed the last ``failures`` times it ran in the workspace, and until when it is left alone."""

    workspace_id: str
    agent_id: str
    failures: int
    last_error: str
    failed_at: datetime
    paused_until: datetime | None = None
