"""Counts of what became of skills' tools, in memory and on PostgreSQL."""

from datetime import date, timedelta

from tests.support.storage import Store
from understudy.storage.records import SkillUsage

DAY = date(2026, 3, 1)


def row(day: date = DAY, skill: str = "files", tool: str = "file_read", calls: int = 1, errors: int = 0) -> SkillUsage:
    return SkillUsage(day, skill, tool, calls, errors, total_ms=5 * calls, spread=(calls, 0))


async def test_a_counter_that_writes_twice_has_written_once_and_each_counter_counts_for_itself(store: Store) -> None:
    usage = store.repositories.skill_usage
    await usage.record("one", [row(calls=1), row(tool="file_list")])
    await usage.record("one", [row(calls=3, errors=1)])
    await usage.record("one", [row(calls=3, errors=1)])
    await usage.record("two", [row(calls=2), row(skill="memory", tool="memory_search")])
    await usage.record("two", [])
    found = await usage.usage("files", DAY)
    assert sorted((each.tool, each.calls, each.errors, each.total_ms, each.spread) for each in found) == [
        ("file_list", 1, 0, 5, (1, 0)),
        ("file_read", 2, 0, 10, (2, 0)),
        ("file_read", 3, 1, 15, (3, 0)),
    ]


async def test_days_are_asked_for_from_one_on_and_forgotten_up_to_one(store: Store) -> None:
    usage = store.repositories.skill_usage
    days = [DAY + timedelta(days=n) for n in range(3)]
    await usage.record("one", [row(day) for day in days])
    assert [each.day for each in await usage.usage("files", days[1])] == days[1:]
    assert await usage.prune(days[2]) == 2
    assert [each.day for each in await usage.usage("files", DAY)] == days[2:]
    assert await usage.usage("nothing", DAY) == ()
