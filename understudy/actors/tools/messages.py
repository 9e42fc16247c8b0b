"""What a tool call comes to, and what `tools/host` and `tools/desk` can be asked or told."""

from collections.abc import Mapping

import attrs

from understudy.actors.agents.config import FileAccess, Spawning
from understudy.actors.inference.messages import ToolSpec
from understudy.runtime import Ask

HOST = "tools/host"
DESK = "tools/desk"


@attrs.frozen
class ToolContext:
    """On whose behalf a tool runs: with which of the agent's skills and tools, and which files within reach.

    ``root`` is the turn that somebody asked for, of which this one is a part when the agent works for another; empty
    when it is this one.
    """

    workspace_id: str
    uid: str
    agent_id: str
    session_id: str
    turn_id: str
    timezone: str = "UTC"
    skills: tuple[str, ...] = ()
    files: FileAccess = attrs.field(factory=FileAccess)
    memory_profile_id: str | None = None
    tools: tuple[str, ...] = ()
    spawn: Spawning = attrs.field(factory=Spawning)
    root: str = ""


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
    """A tool ran for an agent with these skills (told to those who count). ``cached``: the answer was at hand."""

    name: str
    ok: bool
    duration_ms: int
    skills: tuple[str, ...] = ()
    cached: bool = False


@attrs.frozen
class ToolActed:
    """A tool that acts was run, to its end or not. ``ok`` False: it failed, took too long or was stopped."""

    name: str
    context: ToolContext
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


@attrs.frozen
class CacheUse:
    """How often a tool's answer was at hand, how often not, and how many are now."""

    hits: int = 0
    misses: int = 0
    size: int = 0


@attrs.frozen
class CacheStatistics:
    """The cache of tool results, since the node started: counts only."""

    whole: CacheUse
    max_size: int
    by_tool: Mapping[str, CacheUse]


@attrs.frozen
class GetCacheStatistics(Ask[CacheStatistics]):
    """What did the cache of tool results save?"""


@attrs.frozen
class ClearCache(Ask[int]):
    """Forget results: all, or those of one tool, or of one person; how many it was. `Invalid` for an unknown tool."""

    tool: str | None = None
    uid: str | None = None


@attrs.frozen
class ListDeskTools(Ask[tuple[ToolSpec, ...]]):
    """Which tools may people call themselves?"""


@attrs.frozen
class RunTool(Ask[ToolResult]):
    """Run a tool for a person who may act in the workspace, which the caller has made sure of.

    ``arguments`` are JSON text. What goes wrong with the tool is a result; `RateLimited` with too many calls at a time.
    ``call_id`` is the caller's own, and unlike any other: `StopTool` goes by it.
    """

    call_id: str
    uid: str
    workspace_id: str
    tool: str
    arguments: str


@attrs.frozen
class StopTool:
    """Whoever asked for this call has left."""

    call_id: str
