"""The skills as they are now: one immutable set, replaced as a whole, so that no reader ever sees half a change."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar

from understudy.actors.skills.document import Skill

V = TypeVar("V")


class SkillLibrary:
    """What everybody looks into and the loader alone replaces.

    ``tools`` and ``texts`` are live views: what they answer is of the moment they are asked. A turn asks once, when it
    begins, and so keeps what it began with.
    """

    def __init__(self, skills: Iterable[Skill] = ()) -> None:
        self._skills: Mapping[str, Skill] = {}
        self.tools: Mapping[str, tuple[str, ...]] = _View(lambda: self._skills, lambda skill: skill.tools)
        self.texts: Mapping[str, str] = _View(lambda: self._skills, _told)
        self.replace(skills)

    @property
    def skills(self) -> Mapping[str, Skill]:
        """All of them by id, in the order of their ids; never changes once given out."""
        return self._skills

    def replace(self, skills: Iterable[Skill]) -> None:
        """Put these in the place of all that were there."""
        self._skills = MappingProxyType({skill.id: skill for skill in sorted(skills, key=lambda skill: skill.id)})


def _told(skill: Skill) -> str:
    return f"# Skill: {skill.display_name}\n\n{skill.instructions}"


class _View(Mapping[str, V]):
    def __init__(self, skills: Callable[[], Mapping[str, Skill]], show: Callable[[Skill], V]) -> None:
        self._now = skills
        self._show = show

    def __getitem__(self, skill_id: str) -> V:
        return self._show(self._now()[skill_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())
