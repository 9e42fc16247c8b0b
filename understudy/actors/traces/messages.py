"""What can be asked about traces."""

import attrs

from understudy.runtime import Ask
from understudy.storage.records import TurnStatus as TurnStatus
from understudy.storage.spending import Trace as Trace
from understudy.storage.spending import TraceFilter as TraceFilter

TRACES = "traces"
"""The address of the traces actor."""
EXPORT = "trace_export"
"""The address of the actor that exports traces; nobody is there unless that is configured."""


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


@attrs.frozen
class ExportState:
    """How the export goes, in traces since the node's start. ``problem`` is the last one while it lasts.

    ``waiting`` are yet to be sent, those under way among them; ``dropped`` were too many to wait; ``refused`` were not
    taken, and ``rejected_spans`` are spans of such as were; ``missing`` had been deleted. ``failures`` is how often in
    a row the collector (or the database) was away.
    """

    collector: str
    waiting: int
    exported: int
    dropped: int
    refused: int
    rejected_spans: int
    missing: int
    failures: int
    problem: str | None


@attrs.frozen
class GetExport(Ask[ExportState]):
    """How the export goes."""
