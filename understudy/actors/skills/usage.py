"""The actor that counts what becomes of the tools that skills bring: by day, and kept for a month."""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import ClassVar, Protocol

import attrs
import trio

from understudy.actors.clock import utc_now
from understudy.actors.errors import NotFound
from understudy.actors.serving import Server
from understudy.actors.skills.library import SkillLibrary
from understudy.actors.skills.messages import DAYS, USAGE, GetSkillMetrics, SkillMetrics, Tally
from understudy.actors.tools.messages import ToolRan
from understudy.runtime import ChildSpec, Deferred, Exit, Overflow, receive
from understudy.storage.errors import StorageError
from understudy.storage.records import SkillUsage, new_id

BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 120_000)
"""Milliseconds: runs are counted by the least of these that they kept; what took longer is counted with the last."""
FLUSH_EVERY = 5.0
"""Seconds between two writings: so much is lost when the process is killed."""
FRESH = 1.0
"""Seconds that metrics are answered from memory: they are public, and each answer costs the database something."""

log = logging.getLogger(__name__)


class UsageStore(Protocol):
    """The counts in the database; each may raise `StoreUnavailable`."""

    async def record(self, counter: str, usage: Sequence[SkillUsage]) -> None:
        """Replace what *counter* stored before of each of these."""
        ...

    async def usage(self, skill_id: str, since: date) -> tuple[SkillUsage, ...]:
        """What was counted of a skill from a day on."""
        ...

    async def prune(self, before: date) -> int:
        """Forget the days before this one."""
        ...


@attrs.frozen
class _Flush:
    """Time to write."""


class SkillUsageCounter(Server):
    """Counts runs of a tool for each of the agent's skills that brings it. It learns names and times, nothing else."""

    mailbox_limit: ClassVar[int] = 10_000
    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST  # they are only statistics

    def __init__(
        self,
        library: SkillLibrary,
        store: UsageStore,
        now: Callable[[], datetime] = utc_now,
        fresh: float = FRESH,
    ) -> None:
        self._library = library
        self._store = store
        self._now = now
        self._fresh = fresh
        self._counter = new_id("cnt")
        self._counted: dict[tuple[date, str, str], SkillUsage] = {}
        self._changed: set[tuple[date, str, str]] = set()
        self._pruned: date | None = None
        self._writing = trio.Lock()
        self._answers: dict[str, tuple[float, SkillMetrics]] = {}

    async def started(self) -> None:
        """Write what was counted from now on, every few seconds."""
        self.every(FLUSH_EVERY, _Flush())

    async def stopping(self, reason: Exit) -> None:
        """Write what is left, if that is quick."""
        del reason
        with trio.move_on_after(2.0):
            await self._try_flush()

    @receive
    def ran(self, message: ToolRan) -> None:
        """Count a run."""
        day = self._now().date()
        for skill_id in message.skills:
            if message.name in self._library.tools.get(skill_id, ()):
                key = (day, skill_id, message.name)
                self._counted[key] = _one_more(self._counted.get(key), key, message)
                self._changed.add(key)

    @receive
    def flush(self, message: _Flush) -> None:
        """Write, unless that is going on."""
        del message
        if not self._writing.locked():
            self.work(self._try_flush, name="flush")

    @receive
    def metrics(self, message: GetSkillMetrics) -> SkillMetrics | Deferred[SkillMetrics]:
        """What became of a skill's tools."""
        if message.skill_id not in self._library.skills:
            self._answers.pop(message.skill_id, None)
            raise NotFound("there is no such skill")
        at, answer = self._answers.get(message.skill_id, (0.0, None))
        if answer is not None and trio.current_time() - at < self._fresh:
            return answer
        return self.answer(message, self._metrics, message.skill_id)

    def snapshot(self) -> Mapping[str, object]:
        """What this incarnation has counted."""
        return {f"{day} {skill} {tool}": row.calls for (day, skill, tool), row in self._counted.items()}

    async def _metrics(self, skill_id: str) -> SkillMetrics:
        await self._write()
        asked = trio.current_time()
        since = self._now().date() - timedelta(days=DAYS - 1)
        answer = _summed(skill_id, await self._store.usage(skill_id, since))
        self._answers[skill_id] = (asked, answer)
        return answer

    async def _try_flush(self) -> None:
        try:
            await self._write()
        except StorageError as error:  # it stays marked as changed, and is written the next time
            log.debug("skill usage not written: %s", error)

    async def _write(self) -> None:
        async with self._writing:
            today = self._now().date()
            changed, self._changed = self._changed, set()
            try:
                if changed:
                    await self._store.record(self._counter, [self._counted[key] for key in changed])
                if self._pruned != today:
                    await self._store.prune(today - timedelta(days=DAYS))
                    self._pruned = today
            except BaseException:  # cancelled too: what is not known to be written is written again
                self._changed |= changed
                raise
            for key in [key for key in self._counted if key[0] < today and key not in self._changed]:
                del self._counted[key]


def _one_more(before: SkillUsage | None, key: tuple[date, str, str], ran: ToolRan) -> SkillUsage:
    row = before or SkillUsage(*key, calls=0, errors=0, total_ms=0, spread=(0,) * len(BOUNDS))
    at = min(bisect_left(BOUNDS, ran.duration_ms), len(BOUNDS) - 1)
    spread = (*row.spread[:at], row.spread[at] + 1, *row.spread[at + 1 :])
    return attrs.evolve(
        row,
        calls=row.calls + 1,
        errors=row.errors + (not ran.ok),
        total_ms=row.total_ms + ran.duration_ms,
        spread=spread,
    )


def _summed(skill_id: str, rows: Iterable[SkillUsage]) -> SkillMetrics:
    whole, by_day, by_tool = Tally(), dict[date, Tally](), dict[str, Tally]()
    spread = [0] * len(BOUNDS)
    for row in rows:
        whole = _plus(whole, row)
        by_day[row.day] = _plus(by_day.get(row.day, Tally()), row)
        by_tool[row.tool] = _plus(by_tool.get(row.tool, Tally()), row)
        for at, count in enumerate(row.spread[: len(BOUNDS)]):
            spread[at] += count
    return SkillMetrics(skill_id, whole, _p95(spread), by_day, dict(sorted(by_tool.items())))


def _plus(tally: Tally, row: SkillUsage) -> Tally:
    return Tally(tally.calls + row.calls, tally.errors + row.errors, tally.total_ms + row.total_ms)


def _p95(spread: Sequence[int]) -> int | None:
    wanted, seen = 0.95 * sum(spread), 0
    for bound, count in zip(BOUNDS, spread, strict=True):
        seen += count
        if seen and seen >= wanted:
            return bound
    return None


def skill_usage_spec(
    library: SkillLibrary, store: UsageStore, *, now: Callable[[], datetime] = utc_now, fresh: float = FRESH
) -> ChildSpec:
    """The child at `USAGE`: to be put under the supervisor whose id is its address' first part."""
    return ChildSpec(USAGE.rpartition("/")[2], SkillUsageCounter, args=(library, store, now, fresh))
