"""The actor that keeps the skills as they are in their folders."""

import logging
from collections.abc import Mapping
from pathlib import Path

import attrs
import trio

from understudy.actors.errors import NotFound
from understudy.actors.serving import Server
from understudy.actors.skills.document import Skill
from understudy.actors.skills.folders import Found, Signature, look, read
from understudy.actors.skills.library import SkillLibrary
from understudy.actors.skills.messages import SKILLS, GetSkill, ListSkills, ReloadSkills, SkillList, SkillProblem
from understudy.runtime import ChildSpec, Deferred, receive

EVERY = 1.0
"""Seconds between two looks at the folders; a file is read once it has stayed the same from one to the next."""

log = logging.getLogger(__name__)


@attrs.frozen
class _Look:
    """Time to look at the folder."""


class SkillLoader(Server):
    """Reads the node's own skills, which go before the built-in ones, and reads again what changes.

    A file that cannot be read as a skill leaves the version before it in place, and is reported: in the log once, and
    in `SkillList.problems` as long as it lasts. A folder that is gone takes its skill with it. Turns under way keep
    what they began with.
    """

    def __init__(self, library: SkillLibrary, builtin: Mapping[str, Skill], folder: Path, every: float = EVERY) -> None:
        self._library = library
        self._builtin = dict(builtin)
        self._folder = folder
        self._every = every
        self._reading = trio.Lock()
        self._read: dict[str, Found] = {}
        self._good: dict[str, Skill] = {}
        self._pending: dict[str, Signature] = {}
        self._missing: set[str] = set()
        self._reloads = 0

    async def started(self) -> None:
        """Read all there is, and look again from now on."""
        # After a crash of ours the library still has what was good: it outlives us for that.
        self._good = {skill.id: skill for skill in self._library.skills.values() if skill.source == "own"}
        await self._refresh(settled=False)
        self.every(self._every, _Look())

    @receive
    def look(self, message: _Look) -> None:
        """Look at the folder, unless that is going on."""
        del message
        if not self._reading.locked():
            self.work(self._refresh, name="look")

    @receive
    def list_skills(self, message: ListSkills) -> SkillList:
        """All of them."""
        del message
        return self._list()

    @receive
    def get(self, message: GetSkill) -> Skill:
        """One of them."""
        skill = self._library.skills.get(message.skill_id)
        if skill is None:
            raise NotFound("there is no such skill")
        return skill

    @receive
    def reload(self, message: ReloadSkills) -> Deferred[SkillList]:
        """Look now."""
        return self.answer(message, self._reload)

    def snapshot(self) -> Mapping[str, object]:
        """Which skills there are, and what is wrong with others."""
        return {
            "skills": {skill.id: f"{skill.source}, version {skill.version}" for skill in self._list().skills},
            "problems": {problem.skill_id: problem.problem for problem in self._problems()},
            "reloads": self._reloads,
        }

    async def _reload(self) -> SkillList:
        await self._refresh(settled=False)
        return self._list()

    async def _refresh(self, *, settled: bool = True) -> None:
        """Read what has changed; with *settled*, only what had changed at the last look too and not since."""
        async with self._reading:
            seen = await trio.to_thread.run_sync(look, self._folder)
            changed = {
                name: signature
                for name, signature in seen.items()
                if name not in self._read or self._read[name].signature != signature
            }
            ready = {n: s for n, s in changed.items() if not settled or self._pending.get(n) == s}
            self._pending = changed
            for name, signature in ready.items():
                found = await trio.to_thread.run_sync(read, self._folder, name, signature, "own")
                self._take(name, found)
            missing = {name for name in (*self._read, *self._good) if name not in seen}
            # An editor that saves by renaming takes the file away for a moment.
            gone = missing & self._missing if settled else missing
            self._missing = missing - gone
            for name in gone:
                self._read.pop(name, None)
                self._good.pop(name, None)
            if ready or gone:
                self._reloads += 1
                self._library.replace((self._builtin | self._good).values())

    def _take(self, name: str, found: Found) -> None:
        self._read[name] = found
        if found.skill is not None:
            self._good[name] = found.skill
            log.info("skill %s read, version %s", name, found.skill.version)
            return
        kept = "the one before it stays" if name in self._library.skills else "left out"
        log.warning("skill %s is broken, %s: %s", name[:80], kept, found.problem)

    def _list(self) -> SkillList:
        return SkillList(tuple(self._library.skills.values()), self._problems())

    def _problems(self) -> tuple[SkillProblem, ...]:
        return tuple(
            SkillProblem(name, found.problem, name in self._library.skills)
            for name, found in sorted(self._read.items())
            if found.problem is not None
        )


def skill_loader_spec(
    library: SkillLibrary, builtin: Mapping[str, Skill], folder: Path, *, every: float = EVERY
) -> ChildSpec:
    """The child at `SKILLS`: to be put under the supervisor whose id is its address' first part."""
    return ChildSpec(SKILLS.rpartition("/")[2], SkillLoader, args=(library, builtin, folder, every))
