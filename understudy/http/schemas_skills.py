"""The JSON of `/skills`."""

from datetime import date
from typing import Annotated

from msgspec import Meta

from understudy.http.schemas import Wire


class SkillSummary(Wire, frozen=True):
    """A skill, without what it tells the model."""

    id: str
    display_name: str
    category: str
    description: str
    tools: tuple[str, ...]


class SkillList(Wire, frozen=True):
    """All skills of the node."""

    skills: list[SkillSummary]
    count: int


class SkillDetail(SkillSummary, frozen=True, kw_only=True):
    """A skill. ``source`` is ``builtin`` or ``own``; the ``instructions`` of an own one are shown to the signed in."""

    version: str
    source: str
    instructions: str | None


class SkillDay(Wire, frozen=True):
    """One day (UTC) of a skill's tools."""

    date: date
    calls: int
    errors: int
    avg_duration_ms: int | None


class SkillTool(Wire, frozen=True):
    """One tool of a skill, over all days."""

    tool: str
    calls: int
    errors: int
    avg_duration_ms: int | None


class SkillMetrics(Wire, frozen=True):
    """What became of a skill's tools. Rates and times are null without calls; the 95th percentile is a bound."""

    skill_id: str
    days: int
    calls: int
    errors: int
    success_rate: float | None
    avg_duration_ms: int | None
    p95_duration_ms: int | None
    by_day: list[SkillDay]
    by_tool: list[SkillTool]


class ToolCacheUse(Wire, frozen=True):
    """One tool's part of the cache."""

    hits: int
    misses: int
    size: int


class ToolCacheStats(Wire, frozen=True):
    """The cache of tool results since the node started: counts of everybody's use, and nothing of whom."""

    hits: int
    misses: int
    size: int
    max_size: int
    hit_rate: float | None
    by_tool: dict[str, ToolCacheUse]


class ClearQuery(Wire, frozen=True):
    """Which tool's results; all without one."""

    tool: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class ToolCacheCleared(Wire, frozen=True):
    """How many results were forgotten."""

    cleared: int
