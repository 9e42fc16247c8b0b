"""The tools' actor: it lists them and counts. The tools themselves run in the task of whoever calls."""

from collections.abc import Callable, Mapping
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

MOST_COUNTED = 2000
"""Tools whose runs are counted: servers elsewhere may think of ever new names."""


class ToolHost(Actor):
    """Knows which tools there are and what became of their runs since it started."""

    mailbox_limit: ClassVar[int] = 10_000
    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST  # they are only statistics

    def __init__(self, tools: Callable[[], tuple[ToolSpec, ...]], cache: ToolCache) -> None:
        self._tools = tools
        self._cache = cache
        self._ran: dict[str, ToolStatistics] = {}

    @receive
    def ran(self, message: ToolRan) -> None:
        """Count a run."""
        if message.name not in self._ran and len(self._ran) >= MOST_COUNTED:
            return
        before = self._ran.get(message.name, ToolStatistics())
        self._ran[message.name] = ToolStatistics(
            before.runs + 1, before.failures + (not message.ok), before.total_ms + message.duration_ms
        )

    @receive
    def list_tools(self, message: ListTools) -> ToolList:
        """All that can be called now, and the counters of those that ever ran beside them."""
        del message
        return ToolList(self._tools(), self._statistics())

    @receive
    def cache_statistics(self, message: GetCacheStatistics) -> CacheStatistics:
        """What the cache saved."""
        del message
        return self._cache.statistics()

    @receive
    def clear_cache(self, message: ClearCache) -> int:
        """Forget results."""
        if message.tool is not None and message.tool not in self._statistics():
            shown = message.tool[:64]
            raise Invalid(f"tool: there is no tool {shown!r}", details=(Detail("tool", "unknown_tool"),))
        return self._cache.clear(tool=message.tool, uid=message.uid)

    def snapshot(self) -> Mapping[str, object]:
        """The counters by tool."""
        return {name: attrs.asdict(statistics) for name, statistics in self._statistics().items()}

    def _statistics(self) -> dict[str, ToolStatistics]:
        return {tool.name: ToolStatistics() for tool in self._tools()} | self._ran


def tool_host_spec(tools: Callable[[], tuple[ToolSpec, ...]], cache: ToolCache | None = None) -> ChildSpec:
    """The child ``host``, to be started under ``tools`` so that it is found at `HOST`.

    *tools* says which there are, at any moment; *cache* is the toolbox's.
    """
    return ChildSpec(HOST.rpartition("/")[2], ToolHost, args=(tools, cache if cache is not None else ToolCache()))
