"""The desk: tools for people who call them themselves, without an agent in between."""

from collections.abc import Mapping
from typing import ClassVar

import attrs

from understudy.actors.agents.builtin import CHAD
from understudy.actors.agents.config import FileAccess
from understudy.actors.errors import RateLimited
from understudy.actors.inference.messages import ToolSpec
from understudy.actors.tools.messages import DESK, ListDeskTools, RunTool, StopTool, ToolContext, ToolResult
from understudy.actors.tools.toolbox import Toolbox
from understudy.runtime import Actor, ChildSpec, Deferred, Raised, Work, WorkDone, receive
from understudy.storage.records import ToolCall

OFFERED = frozenset(
    {
        "calculator", "datetime_now", "file_delete", "file_list", "file_read", "file_write", "http_get", "json_query",
        "memory_search", "memory_write", "note_add", "profile_get", "profile_update", "rss_read", "web_search",
    }
)  # fmt: skip
"""The node's tools that are also for people: named one by one, so that a new one does not get here by itself."""

AT_ONCE = 4
"""Calls of one person that run side by side."""


@attrs.frozen
class _Call:
    uid: str
    work: Work


class ToolDesk(Actor):
    """Runs each call as work of its own, so that it can be stopped, and the others go on.

    Its box is not that of the agents: what is offered to whoever signs in is chosen on purpose.
    """

    mailbox_limit: ClassVar[int] = 1000

    def __init__(self, box: Toolbox) -> None:
        self._box = box
        self._calls: dict[str, _Call] = {}

    @receive
    def list_tools(self, message: ListDeskTools) -> tuple[ToolSpec, ...]:
        """What can be called here."""
        del message
        return self._box.specs()

    @receive
    def run(self, message: RunTool) -> Deferred[ToolResult]:
        """Run a tool."""
        uid = message.uid
        if sum(call.uid == uid for call in self._calls.values()) >= AT_ONCE:
            raise RateLimited(f"at most {AT_ONCE} calls at a time", retry_after=1.0)
        deferred = self.defer(message)
        work = self.work(self._run, deferred, message, name=message.tool, tag=message.call_id)
        self._calls[message.call_id] = _Call(uid, work)
        return deferred

    @receive
    def stop_call(self, message: StopTool) -> None:
        """Stop a call; harmless when it has ended."""
        call = self._calls.get(message.call_id)
        if call is not None:
            call.work.cancel()

    @receive
    def ended(self, message: WorkDone) -> None:
        """A call has ended, however it did."""
        self._calls.pop(str(message.work.tag), None)
        if isinstance(message.outcome, Raised):
            raise message.outcome.error

    def snapshot(self) -> Mapping[str, object]:
        """What runs."""
        return {"running": [call.work.name for call in self._calls.values()]}

    async def _run(self, deferred: Deferred[ToolResult], message: RunTool) -> None:
        # Chad is the agent for whoever names none. The folder is the workspace's, and they may act in it.
        context = ToolContext(
            message.workspace_id, message.uid, CHAD, "", message.call_id, files=FileAccess(restricted=False)
        )
        deferred.reply(await self._box.run(ToolCall(message.call_id, message.tool, message.arguments), context))


def tool_desk_spec(box: Toolbox) -> ChildSpec:
    """The child ``desk``, to be started under ``tools`` so that it is found at `DESK`."""
    return ChildSpec(DESK.rpartition("/")[2], ToolDesk, args=(box,))
