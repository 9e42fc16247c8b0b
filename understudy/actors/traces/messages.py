"""What can be asked about traces (contract/platform.md §13)."""

import attrs

from understudy.runtime import Ask
from understudy.storage.records import TurnStatus as TurnStatus
from understudy.storage.spending import Trace as Trace
from understudy.storage.spending import TraceFilter as TraceFilter

TRACES = "traces"
"""The address of the traces actor."""


@attrs.frozen
class TracePage:
    """Traces, newest first and without their spans; ``total`` is how many there are on all pages."""

    traces: tuple[Trace, ...]
    total: int


@attrs.frozen
class ListTraces(Ask[TracePage]):
    """One page of a workspace's traces. Refused with `Unavailable`."""

    wanted: TraceFilter
    limit: int = 20
    offset: int = 0


@attrs.frozen
class GetTrace(Ask[Trace]):
    """One trace with its spans. ``uid``: only if it is of this user's turn. Refused with `NotFound`, `Unavailable`."""

    workspace_id: str
    trace_id: str
    uid: str | None = None
