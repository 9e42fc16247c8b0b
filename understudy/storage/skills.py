"""How often the tools of each skill ran, by day."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from understudy.storage.connection import Connection
from understudy.storage.records import SkillUsage
from understudy.storage.repository import Repository

_RECORD = b"""
INSERT INTO skill_usage (day, skill_id, tool, counter, calls, errors, total_ms, spread)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (skill_id, day, tool, counter) DO UPDATE
SET calls = excluded.calls, errors = excluded.errors, total_ms = excluded.total_ms, spread = excluded.spread
"""


class SkillUsageRepository(Repository):
    """Counts of tool runs by skill, day and tool."""

    async def record(self, counter: str, usage: Sequence[SkillUsage]) -> None:
        """Store what *counter* has counted in all of each of these; what it stored of them before is replaced."""

        async def work(connection: Connection[Any]) -> None:
            for row in usage:
                values = (row.day, row.skill_id, row.tool, counter, row.calls, row.errors, row.total_ms)
                await connection.execute(_RECORD, (*values, list(row.spread)))

        await self._transact(work)

    async def usage(self, skill_id: str, since: date) -> tuple[SkillUsage, ...]:
        """What was counted of the skill from the day *since* on: a row for each day, tool and counter, oldest first."""
        found = await self._rows(
            "SELECT day, skill_id, tool, calls, errors, total_ms, spread FROM skill_usage"
            " WHERE skill_id = %s AND day >= %s ORDER BY day, tool, counter",
            skill_id,
            since,
        )
        return tuple(
            SkillUsage(day, skill, tool, calls, errors, total_ms, tuple(spread))
            for day, skill, tool, calls, errors, total_ms, spread in found
        )

    async def prune(self, before: date) -> int:
        """Forget the days before this one; how many rows it was."""
        return await self._prune("skill_usage", "day < %s", before)
