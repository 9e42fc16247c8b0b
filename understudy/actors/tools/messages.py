"""What a tool call comes to, and what `tools/host` can be asked or told."""

from collections.abc import Mapping

import attrs

from understudy.actors.inference.messages import ToolSpec
from understudy.runtime import Ask

HOST = "tools/host"


@attrs.frozen
class ToolContext:
    """On whose behalf a tool runs."""

    workspace_id: str
    uid: str
    agent_id: str
    session_id: str
    turn_id: str
    timezone: str = "UTC"


@attrs.frozen
class ToolResult:
    """The answer to one call, as the model reads it. ``ok`` False: ``content`` says what went wrong.

    ``truncated`` says that the tool gave more than the 16 KB kept in ``content``.
    """

    call_id: str
    name: str
    ok: bool
    content: str
    duration_ms: int
    truncated: bool = False


@attrs.frozen
class ToolRan:
    """A tool ran (told to the host for its statistics)."""

    name: str
    ok: bool
    duration_ms: int


@attrs.frozen
class ToolStatistics:
    """How often a tool ran since the host started, how often it failed, and for how long in all."""

    runs: int = 0
    failures: int = 0
    total_ms: int = 0


@attrs.frozen
class ToolList:
    """The tools of this node and what became of them."""

    tools: tuple[ToolSpec, ...]
    statistics: Mapping[str, ToolStatistics]


@attrs.frozen
class ListTools(Ask[ToolList]):
    """Which tools are there?"""
