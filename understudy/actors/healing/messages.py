"""What can be asked of, and told to, whoever leaves failing agents alone."""

import attrs

from understudy.runtime import Ask

HEALING = "healing"
"""The address of the healing actor."""

PAUSED = "agent.paused"
"""The fact that an agent failed so often in a row that it is left alone."""

RESUMED = "agent.resumed"
"""The fact that a paused agent may run again."""

COUNTED = frozenset({"PROVIDER_ERROR", "TIMEOUT", "INTERNAL"})
"""Codes of failed turns that are held against the agent: not where no model was asked, or the user is at fault."""


@attrs.frozen
class CheckAgent(Ask[None]):
    """May the agent run in the workspace? Refused with `AgentPaused` while it is left alone. Does not block."""

    workspace_id: str
    agent_id: str


@attrs.frozen
class TurnEnded:
    """Tell: a turn of the agent ended; ``failure`` is the code of what went wrong, None when nothing did."""

    workspace_id: str
    agent_id: str
    uid: str
    failure: str | None = None


@attrs.frozen
class ResumeAgent(Ask[tuple[str, ...]]):
    """Let a paused agent run again, in one workspace or in all; answered with those in which it was paused.

    ``by`` is who wants that: the name of an internal key.
    """

    agent_id: str
    workspace_id: str | None
    by: str
    request_id: str | None = None
