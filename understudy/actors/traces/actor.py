"""The actor that tells how turns went."""

from understudy.actors.errors import NotFound
from understudy.actors.serving import Server
from understudy.actors.traces.messages import TRACES, GetTrace, ListTraces, TracePage
from understudy.actors.traces.ports import TraceStore
from understudy.runtime import ChildSpec, Deferred, receive
from understudy.storage.spending import Trace


class Traces(Server):
    """Reads what the ends of turns have written."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store

    @receive
    def list_traces(self, message: ListTraces) -> Deferred[TracePage]:
        """A page."""
        return self.answer(message, self._list, message)

    @receive
    def get_trace(self, message: GetTrace) -> Deferred[Trace]:
        """One."""
        return self.answer(message, self._get, message)

    async def _list(self, message: ListTraces) -> TracePage:
        traces, total = await self._store.list(message.wanted, limit=message.limit, offset=message.offset)
        return TracePage(traces, total)

    async def _get(self, message: GetTrace) -> Trace:
        trace = await self._store.get(message.workspace_id, message.trace_id, uid=message.uid)
        if trace is None:
            raise NotFound("there is no such trace")
        return trace


def traces_spec(store: TraceStore) -> ChildSpec:
    """The child at `TRACES`."""
    return ChildSpec(TRACES, Traces, args=(store,))
