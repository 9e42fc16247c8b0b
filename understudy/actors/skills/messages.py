"""What can be asked about skills."""

from collections.abc import Mapping
from datetime import date

import attrs

from understudy.actors.skills.document import Skill as Skill
from understudy.runtime import Ask

SKILLS = "tools/skills"
"""The address of the loader, which knows the skills."""
USAGE = "tools/usage"
"""The address of the actor that counts what becomes of them."""
DAYS = 30
"""How many days, today among them, the metrics cover."""


@attrs.frozen
class SkillProblem:
    """A folder that should be a skill and is not, or is as it was before: ``kept`` says that an older version runs."""

    skill_id: str
    problem: str
    kept: bool


@attrs.frozen
class SkillList:
    """The skills by id, and what could not be read."""

    skills: tuple[Skill, ...]
    problems: tuple[SkillProblem, ...]


@attrs.frozen
class ListSkills(Ask[SkillList]):
    """Which skills are there?"""


@attrs.frozen
class GetSkill(Ask[Skill]):
    """One skill, as it is now. Refused with `NotFound`."""

    skill_id: str


@attrs.frozen
class ReloadSkills(Ask[SkillList]):
    """Look at the folders now, and answer with what was found."""


@attrs.frozen
class Tally:
    """How often something ran, how often it failed, and for how long in all."""

    calls: int = 0
    errors: int = 0
    total_ms: int = 0


@attrs.frozen
class SkillMetrics:
    """What became of the runs of a skill's tools in the last `DAYS` days; days without any are left out.

    ``p95_ms`` is the least bound (see `usage.BOUNDS`) that 95 % of the runs kept; None without runs.
    """

    skill_id: str
    whole: Tally
    p95_ms: int | None
    by_day: Mapping[date, Tally]
    by_tool: Mapping[str, Tally]


@attrs.frozen
class GetSkillMetrics(Ask[SkillMetrics]):
    """What became of a skill's tools. Refused with `NotFound`, and with `Unavailable` while the database is away."""

    skill_id: str
