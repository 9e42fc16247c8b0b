"""What becomes of skills' tools is counted by day, and outlives whoever counts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import attrs
import pytest
import trio

from tests.support.clock import WallClock
from understudy.actors.errors import NotFound, Unavailable
from understudy.actors.skills.document import Skill
from understudy.actors.skills.library import SkillLibrary
from understudy.actors.skills.messages import DAYS, USAGE, GetSkillMetrics, SkillMetrics, Tally
from understudy.actors.skills.usage import skill_usage_spec
from understudy.actors.tools.messages import ToolRan
from understudy.runtime import ActorSystem, SupervisorSpec
from understudy.storage.memory import MemoryStore

LIBRARY = SkillLibrary(
    Skill(name, name, "work", "d", "i", "1", tools, "builtin")
    for name, tools in {"files": ("file_read", "file_list"), "review": ("file_read",)}.items()
)
TODAY = date(2026, 3, 1)


@attrs.define
class Stage:
    system: ActorSystem
    store: MemoryStore
    clock: WallClock

    def ran(self, tool: str, *skills: str, ms: int = 4, ok: bool = True) -> None:
        self.system.tell(USAGE, ToolRan(tool, ok, ms, skills))

    async def metrics(self, skill_id: str = "files") -> SkillMetrics:
        return await self.system.ask(USAGE, GetSkillMetrics(skill_id))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as stage:
        yield stage


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    store, clock = MemoryStore(), WallClock()
    with trio.fail_after(30):
        async with ActorSystem("test") as system:
            usage = skill_usage_spec(LIBRARY, store.skill_usage, now=clock, fresh=0.0)
            await system.spawn(SupervisorSpec("tools", children=(usage,)))
            yield Stage(system, store, clock)


async def test_a_run_counts_for_every_skill_that_asks_for_the_tool_and_for_no_other(stage: Stage) -> None:
    stage.ran("file_read", "files", "review", "gone", ms=10)
    stage.ran("file_list", "files", "review", ms=30, ok=False)
    stage.ran("calculator", "files")
    found = await stage.metrics()
    assert (found.whole, found.by_day) == (Tally(2, 1, 40), {TODAY: Tally(2, 1, 40)})
    assert found.by_tool == {"file_list": Tally(1, 1, 30), "file_read": Tally(1, 0, 10)}
    assert (await stage.metrics("review")).whole == Tally(1, 0, 10)
    with pytest.raises(NotFound):
        await stage.metrics("gone")


async def test_the_95th_percentile_is_the_bound_that_nearly_all_kept(stage: Stage) -> None:
    assert (await stage.metrics()).p95_ms is None
    for _ in range(19):
        stage.ran("file_read", "files", ms=4)
    stage.ran("file_read", "files", ms=900_000)
    assert (await stage.metrics()).p95_ms == 5
    stage.ran("file_read", "files", ms=900_000)
    assert (await stage.metrics()).p95_ms == 120_000


async def test_counts_survive_a_kill_and_add_up_over_days_for_a_month(stage: Stage) -> None:
    for _ in range(DAYS + 1):
        stage.ran("file_read", "files")
        assert (await stage.metrics()).by_day[stage.clock().date()] == Tally(1, 0, 4)
        await stage.system.kill(USAGE)
        stage.clock.advance(86_400)
    found = await stage.metrics()
    assert found.whole.calls == DAYS - 1  # today nothing ran
    assert min(found.by_day) == stage.clock().date() - timedelta(days=DAYS - 1)


async def test_nothing_is_lost_while_the_database_is_away(stage: Stage) -> None:
    stage.ran("file_read", "files")
    stage.store.tables.available = False
    with pytest.raises(Unavailable):
        await stage.metrics()
    stage.ran("file_list", "files")
    stage.store.tables.available = True
    assert (await stage.metrics()).whole.calls == 2


async def test_what_was_counted_last_is_written_when_the_node_stops() -> None:
    async with staged() as stage:
        stage.ran("file_read", "files")
        await stage.system.stop()
        (row,) = await stage.store.skill_usage.usage("files", datetime(2026, 1, 1, tzinfo=UTC).date())
        assert row.calls == 1
