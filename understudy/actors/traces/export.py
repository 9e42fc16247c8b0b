"""The actor that exports traces to a collector."""

import random
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs
import structlog
import trio

from understudy.actors.diagnostics.check import Check, Finding, passed, warned
from understudy.actors.traces.messages import EXPORT, ExportState, GetExport
from understudy.actors.traces.otlp import export_request
from understudy.actors.traces.ports import Collector, CollectorAway, CollectorRefused, TraceStore
from understudy.actors.traces.waiting import EndedTurn, WaitingTraces
from understudy.backoff import Backoff
from understudy.runtime import Actor, ActorSystem, ChildSpec, Exit, receive
from understudy.storage.errors import StoreUnavailable
from understudy.storage.spending import Trace

LINGER = 0.2
"""Seconds that a trace waits for company: a request then carries what ended meanwhile."""
AT_ONCE = 64
"""Traces of one request."""
MOST_SPANS = 2000
"""Spans after which a request takes no further trace."""
FAREWELL = 2.0
"""Seconds that a node which is being stopped waits for its last traces to be taken."""
PAUSES = Backoff(base=1.0, limit=60.0)
"""Between a failure and the next try."""

log = structlog.get_logger("understudy.traces")


@attrs.frozen
class ExportPlan:
    """Where traces are exported to, which of them wait, and what the node is called there."""

    collector: Collector
    waiting: WaitingTraces
    service: str = "understudy"


class TraceExport(Actor):
    """Exports the traces of the turns that wait, some at a time and one request after the other.

    A collector that is away is tried again, with pauses that grow; meanwhile turns wait, and when there are too many
    the oldest are dropped. What it refuses is not sent again. No turn waits for any of this.
    """

    kind: ClassVar[str | None] = "trace_export"

    def __init__(
        self,
        plan: ExportPlan,
        traces: TraceStore,
        *,
        rng: random.Random | None = None,
        linger: float = LINGER,
    ) -> None:
        self._plan = plan
        self._waiting = plan.waiting
        self._traces = traces
        self._rng = rng or random.Random()  # noqa: S311  # jitter, not a secret
        self._linger = linger
        self._idle = trio.Event()
        self._sending = self._exported = self._refused = self._rejected = self._missing = self._failures = 0
        self._problem: str | None = None

    async def started(self) -> None:
        """Export whatever waits, and whatever will."""
        self.work(self._run, name="export")

    async def stopping(self, reason: Exit) -> None:
        """Wait a moment for the last ones, if the collector takes them at all."""
        if not self._failures:
            with trio.move_on_after(FAREWELL):
                while self._waiting or self._sending:
                    self._idle = trio.Event()
                    await self._idle.wait()

    @receive
    def state(self, message: GetExport) -> ExportState:
        """How it goes."""
        del message
        return ExportState(
            collector=self._plan.collector.place,
            waiting=len(self._waiting) + self._sending,
            exported=self._exported,
            dropped=self._waiting.dropped,
            refused=self._refused,
            rejected_spans=self._rejected,
            missing=self._missing,
            failures=self._failures,
            problem=self._problem,
        )

    def snapshot(self) -> Mapping[str, object]:
        """How it goes."""
        return attrs.asdict(self.state(GetExport()))

    async def _run(self) -> None:
        while True:
            await self._waiting.wait_some()
            await trio.sleep(self._linger)
            turns = self._waiting.take(AT_ONCE)
            self._sending = len(turns)
            try:
                pause = await self._export(turns)
            except Exception:
                turns.clear()  # one of them is what we cannot tell, and would be met again after every restart
                raise
            finally:
                self._waiting.give_back(turns)  # those that are left, whatever has ended this
                self._sending = 0
                self._idle.set()
            await trio.sleep(pause)

    async def _export(self, turns: list[EndedTurn]) -> float:
        """Export the first of *turns*, and take out what is done with. Returns the seconds to pause then."""
        try:
            traces, looked_at = await self._read(turns)
            if traces:
                body = export_request(traces, service=self._plan.service)
                taken = await self._plan.collector.send(body)
                self._rejected += taken.rejected_spans
                if taken.rejected_spans:
                    self._complain(f"it rejected {taken.rejected_spans} spans: {taken.why[:200]}")
                else:
                    self._problem = None
                self._exported += len(traces)
        except CollectorRefused as error:
            self._refused += len(traces)
            self._complain(str(error))
        except (CollectorAway, StoreUnavailable) as error:
            self._failures += 1
            self._complain(str(error))
            asked = error.retry_after if isinstance(error, CollectorAway) else None
            return max(asked or 0.0, PAUSES.delay(self._failures, self._rng))
        self._failures = 0
        self._missing += looked_at - len(traces)
        del turns[:looked_at]
        return 0.0

    async def _read(self, turns: Sequence[EndedTurn]) -> tuple[list[Trace], int]:
        """The traces of as many of *turns* as fit into one request, and of how many that is."""
        traces: list[Trace] = []
        spans = looked_at = 0
        for turn in turns:
            found = await self._traces.of_turn(turn.workspace_id, turn.turn_id, turn.started_at)
            looked_at += 1
            if found is not None:  # else its workspace was deleted meanwhile
                traces.append(found)
                spans += 1 + len(found.spans)
            if spans >= MOST_SPANS:
                break
        return traces, looked_at

    def _complain(self, problem: str) -> None:
        if problem != self._problem:  # once, not with every try
            log.warning("traces are not exported", collector=self._plan.collector.place, problem=problem)
        self._problem = problem


def export_spec(plan: ExportPlan, traces: TraceStore) -> ChildSpec:
    """The child at `EXPORT`."""
    return ChildSpec(EXPORT, TraceExport, args=(plan, traces))


def export_check() -> Check:
    """The collector takes traces, and none were dropped. None of this ever fails a node."""

    async def run(system: ActorSystem) -> Finding:
        found = await system.ask(EXPORT, GetExport(), timeout=1.0)
        told = f"{found.exported} traces exported to {found.collector}, {found.waiting} waiting"
        lost = found.dropped + found.refused
        if found.problem is None and not lost:
            return passed(told)
        problem = f"; {found.problem}" if found.problem is not None else ""
        lacking = f"; {found.dropped} dropped, {found.refused} refused since the start" if lost else ""
        return warned(
            f"{told}{lacking}{problem}",
            "see that otlp.endpoint is a collector's OTLP over HTTP (usually port 4318), and which headers it wants",
        )

    return Check("traces.export", run)
