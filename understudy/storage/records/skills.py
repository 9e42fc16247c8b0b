"""How often skills' tools ran."""

from datetime import date

import attrs


@attrs.frozen
class SkillUsage:
    """How often one tool of a skill ran on one day (UTC). ``spread`` counts the runs by how long they took."""

    day: date
    skill_id: str
    tool: str
    calls: int
    errors: int
    total_ms: int
    spread: tuple[int, ...]
