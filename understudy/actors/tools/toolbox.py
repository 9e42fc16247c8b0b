"""The toolbox: runs a model's tool calls in the task of whoever asks."""

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

import trio

from understudy.actors.inference.messages import ToolSpec
from understudy.actors.tools.cache import ToolCache
from understudy.actors.tools.messages import ToolActed, ToolContext, ToolRan, ToolResult
from understudy.actors.tools.tool import AnyTool, Passing, Tool, ToolFailed
from understudy.storage.records import ToolCall

OUTPUT_LIMIT = 16 * 1024

log = logging.getLogger(__name__)


class ToolSource(Protocol):
    """Tools that come and go while the node runs. What it answers is of the moment it is asked."""

    def specs(self) -> Iterable[ToolSpec]:
        """Those that can be called now."""
        ...

    def find(self, name: str) -> AnyTool | None:
        """The tool of this name: also one that cannot be called at the moment, which says so when it is run."""
        ...


class Toolbox:
    """The tools of this node, by name. *report* is told of each run (the host's statistics); it must not block.

    *witness* is told of each run of a tool that acts, however it ended; it must not block either.
    *others* are those that come and go; a name of the node's own is never theirs. *cache* keeps the results of tools
    that allow it; without one, none are kept.
    """

    def __init__(
        self,
        tools: Iterable[Tool],
        *,
        report: Callable[[ToolRan], None] | None = None,
        witness: Callable[[ToolActed], None] | None = None,
        cache: ToolCache | None = None,
        others: ToolSource | None = None,
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._specs = {name: tool.spec() for name, tool in self._tools.items()}  # a schema takes long to derive
        self._others = others
        self._report = report
        self._witness = witness
        self._cache = cache

    def specs(self, names: Collection[str] | None = None) -> tuple[ToolSpec, ...]:
        """The tools to offer a model, as they are now: all, or those in *names* that exist."""
        others = () if self._others is None else self._others.specs()
        found = (*self._specs.values(), *(spec for spec in others if spec.name not in self._specs))
        return found if names is None else tuple(spec for spec in found if spec.name in names)

    def is_serial(self, name: str) -> bool:
        """Whether calls of this tool must not run beside others of their round."""
        tool = self._find(name)
        return tool is not None and tool.serial

    async def run(self, call: ToolCall, context: ToolContext, *, allowed: Collection[str] | None = None) -> ToolResult:
        """Run one call and return what came of it; a failure is a result with ``ok`` False, never an exception.

        An unknown tool, one that is not in *allowed*, arguments that break the schema and a tool that takes longer
        than its timeout are such failures. Runs in the caller's task: cancelled means the tool was cancelled.
        """
        begin = trio.current_time()
        ok, text, cached = await self._attempt(call, context, allowed)
        content, truncated = _capped(text)
        duration = round((trio.current_time() - begin) * 1000)
        if self._report is not None and self._find(call.name) is not None:
            self._report(ToolRan(call.name, ok, duration, context.skills, cached))
        return ToolResult(call.id, call.name, ok, content, duration, truncated)

    def _find(self, name: str) -> AnyTool | None:
        tool = self._tools.get(name)
        return tool if tool is not None or self._others is None else self._others.find(name)

    async def _attempt(
        self, call: ToolCall, context: ToolContext, allowed: Collection[str] | None
    ) -> tuple[bool, str, bool]:
        """Whether it worked, what came of it, and whether that was at hand."""
        tool = self._find(call.name)
        if tool is None or (allowed is not None and call.name not in allowed):
            names = ", ".join(spec.name for spec in self.specs(allowed)) or "none"
            return False, f"there is no tool {call.name!r} here; there are: {names}", False
        try:
            arguments = tool.read(call.arguments)
            cache = self._cache if tool.keep else None
            kept = cache.get(tool.name, arguments, context) if cache is not None else None
            if kept is not None:
                return True, kept, True
            with trio.move_on_after(tool.timeout):
                text = await self._do(tool, arguments, context)
                if cache is not None and not isinstance(text, Passing):
                    cache.put(tool.name, arguments, context, text, tool.keep)
                return True, text, False
        except ToolFailed as failure:
            return False, str(failure), False
        except Exception:  # whatever a tool does, the turn goes on; the log gets the whole of it
            log.exception("tool %s failed", tool.name)
            return False, f"{tool.name} failed unexpectedly; this was logged", False
        return False, f"{tool.name} took longer than {tool.timeout:g} s and was stopped", False

    async def _do(self, tool: AnyTool, arguments: Any, context: ToolContext) -> str:
        witness = self._witness
        if witness is None or not tool.acts:
            return _as_text(await tool.run(arguments, context))
        ok, begin = False, trio.current_time()
        try:
            text = _as_text(await tool.run(arguments, context))
            ok = True
        finally:  # also when it was stopped in the middle, which may be after it has acted
            witness(ToolActed(tool.name, context, ok, round((trio.current_time() - begin) * 1000)))
        return text


def _as_text(result: object) -> str:
    if not isinstance(result, str):
        raise TypeError(f"a tool returns text, and not {type(result).__name__}")
    return result


def _capped(text: str) -> tuple[str, bool]:
    data = text.encode("utf-8", "replace")
    if len(data) <= OUTPUT_LIMIT:
        return text, False
    note = f"\n[cut: the first {OUTPUT_LIMIT // 1024} KB of {-(-len(data) // 1024)} KB]"
    return data[: OUTPUT_LIMIT - len(note)].decode("utf-8", "ignore") + note, True
