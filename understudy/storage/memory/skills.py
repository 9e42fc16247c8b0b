"""Skill usage, in memory."""

from collections.abc import Sequence
from datetime import date

from understudy.storage.memory.tables import Tables
from understudy.storage.records import SkillUsage


class MemorySkillUsage:
    """See `understudy.storage.skills.SkillUsageRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._usage: dict[tuple[date, str, str], SkillUsage] = {}

    async def record(self, counter: str, usage: Sequence[SkillUsage]) -> None:
        """As the real one."""
        self._tables.check()
        self._usage.update({(row.day, f"{row.skill_id}/{row.tool}", counter): row for row in usage})

    async def usage(self, skill_id: str, since: date) -> tuple[SkillUsage, ...]:
        """As the real one."""
        self._tables.check()
        rows = sorted(self._usage.items())
        return tuple(row for _, row in rows if row.skill_id == skill_id and row.day >= since)

    async def prune(self, before: date) -> int:
        """As the real one."""
        self._tables.check()
        old = [key for key in self._usage if key[0] < before]
        for key in old:
            del self._usage[key]
        return len(old)
