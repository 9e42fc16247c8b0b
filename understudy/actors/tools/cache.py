"""Results of tools that only look: kept for a while, for the person who asked and nobody else."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

import attrs
import msgspec
import trio

from understudy.actors.tools.messages import CacheStatistics, CacheUse, ToolContext

MOST = 1000
"""Results that are kept; the one unused for longest goes first."""
LARGEST = 16 * 1024
"""Characters of a result that is kept: a model is never shown more."""

_encode = msgspec.json.Encoder(order="deterministic").encode

_Key = tuple[str, str, str, bytes]


@attrs.frozen
class _Kept:
    text: str
    until: float


class ToolCache:
    """At most *most* results. The key is the tool, its arguments, the workspace and the person.

    Nothing blocks. It belongs to the toolbox and lives as long as the node; an actor that asks it may come and go.
    """

    def __init__(self, most: int = MOST, *, clock: Callable[[], float] = trio.current_time) -> None:
        self._most = most
        self._clock = clock
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._used: dict[str, CacheUse] = {}

    def get(self, tool: str, arguments: object, context: ToolContext) -> str | None:
        """The result of the same call by the same person, if it is there and young enough."""
        key = _key(tool, arguments, context)
        kept = self._kept.get(key)
        used = self._used.get(tool, CacheUse())
        if kept is None or kept.until <= self._clock():
            self._kept.pop(key, None)
            self._used[tool] = attrs.evolve(used, misses=used.misses + 1)
            return None
        self._kept.move_to_end(key)
        self._used[tool] = attrs.evolve(used, hits=used.hits + 1)
        return kept.text

    def put(self, tool: str, arguments: object, context: ToolContext, text: str, seconds: float) -> None:
        """Keep a result for so long, unless it is too large."""
        if len(text) > LARGEST:
            return
        key = _key(tool, arguments, context)
        self._kept[key] = _Kept(text, self._clock() + seconds)
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def clear(self, *, tool: str | None = None, uid: str | None = None) -> int:
        """Forget all results, or those of one tool, of one person, or of both; how many it was."""
        going = [key for key in self._kept if tool in (None, key[0]) and uid in (None, key[2])]
        for key in going:
            del self._kept[key]
        return len(going)

    def statistics(self) -> CacheStatistics:
        """What it saved, and what it holds that is young enough."""
        now = self._clock()
        sizes: dict[str, int] = {}
        for key, kept in self._kept.items():
            if kept.until > now:
                sizes[key[0]] = sizes.get(key[0], 0) + 1
        by_tool: Mapping[str, CacheUse] = {
            tool: attrs.evolve(used, size=sizes.get(tool, 0)) for tool, used in sorted(self._used.items())
        }
        whole = CacheUse(
            sum(used.hits for used in by_tool.values()),
            sum(used.misses for used in by_tool.values()),
            sum(sizes.values()),
        )
        return CacheStatistics(whole, self._most, by_tool)


def _key(tool: str, arguments: object, context: ToolContext) -> _Key:
    return tool, context.workspace_id, context.uid, _encode(arguments)
