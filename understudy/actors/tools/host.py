"""The tools' actor: it lists them and counts. The tools themselves run in the task of whoever calls."""

from collections.abc import Mapping
from typing import ClassVar

import attrs

from understudy.actors.errors import Detail, Invalid
from understudy.actors.inference.messages import ToolSpec
from understudy.actors.tools.cache import ToolCache
from understudy.actors.tools.messages import (
    HOST,
    CacheStatistics,
    ClearCache,
    GetCacheStatistics,
    ListTools,
    ToolList,
    ToolRan,
    ToolStatistics,
)
from understudy.runtime import Actor, ChildSpec, Overflow, receive


class ToolHost(Actor):
    """Knows which tools there are and what became of their runs since it started."""

    mailbox_limit: ClassVar[int] = 10_000
    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST  # they are only statistics

    def __init__(self, tools: tuple[ToolSpec, ...], cache: ToolCache) -> None:
        self._tools = tools
        self._cache = cache
        self._statistics = {tool.name: ToolStatistics() for tool in tools}

    @receive
    def ran(self, message: ToolRan) -> None:
        """Count a run."""
        before = self._statistics.get(message.name, ToolStatistics())
        self._statistics[message.name] = ToolStatistics(
            before.runs + 1, before.failures + (not message.ok), before.total_ms + message.duration_ms
        )

    @receive
    def list_tools(self, message: ListTools) -> ToolList:
        """All of them, with their counters."""
        del message
        return ToolList(self._tools, dict(self._statistics))

    @receive
    def cache_statistics(self, message: GetCacheStatistics) -> CacheStatistics:
        """What the cache saved."""
        del message
        return self._cache.statistics()

    @receive
    def clear_cache(self, message: ClearCache) -> int:
        """Forget results."""
        if message.tool is not None and message.tool not in self._statistics:
            shown = message.tool[:64]
            raise Invalid(f"tool: there is no tool {shown!r}", details=(Detail("tool", "unknown_tool"),))
        return self._cache.clear(tool=message.tool, uid=message.uid)

    def snapshot(self) -> Mapping[str, object]:
        """The counters by tool."""
        return {name: attrs.asdict(statistics) for name, statistics in self._statistics.items()}


def tool_host_spec(tools: tuple[ToolSpec, ...], cache: ToolCache | None = None) -> ChildSpec:
    """The child ``host``, to be started under ``tools`` so that it is found at `HOST`. *cache* is the toolbox's."""
    return ChildSpec(HOST.rpartition("/")[2], ToolHost, args=(tools, cache if cache is not None else ToolCache()))
