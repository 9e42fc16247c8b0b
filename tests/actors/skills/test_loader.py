"""Skills are read anew when their files change, and a broken file changes nothing."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from understudy.actors.errors import NotFound
from understudy.actors.skills.document import Skill
from understudy.actors.skills.library import SkillLibrary
from understudy.actors.skills.loader import skill_loader_spec
from understudy.actors.skills.messages import SKILLS, GetSkill, ListSkills, ReloadSkills, SkillList
from understudy.runtime import ActorSystem, SupervisorSpec

BUILTIN = {"files": Skill("files", "Files", "work", "Built in", "Be careful.", "1", ("file_read",), "builtin")}


def write(folder: Path, skill_id: str, instructions: str, front: str = "") -> None:
    (folder / skill_id).mkdir(exist_ok=True, parents=True)
    text = f"---\nname: {skill_id}\ndescription: d\n{front}---\n{instructions}"
    (folder / skill_id / "SKILL.md").write_text(text)


@asynccontextmanager
async def loading(folder: Path, library: SkillLibrary, every: float = 3600.0) -> AsyncIterator[ActorSystem]:
    with trio.fail_after(20):
        async with ActorSystem("test") as system:
            loader = skill_loader_spec(library, BUILTIN, folder, every=every)
            await system.spawn(SupervisorSpec("tools", children=(loader,)))
            yield system


def ids(found: SkillList) -> list[str]:
    return [skill.id for skill in found.skills]


async def test_own_skills_go_before_built_in_ones_and_come_and_go_with_their_folders(tmp_path: Path) -> None:
    library = SkillLibrary(BUILTIN.values())
    async with loading(tmp_path, library) as system:
        assert ids(await system.ask(SKILLS, ListSkills())) == ["files"]
        write(tmp_path, "notes", "Take notes.", "tools: [note_add]\n")
        write(tmp_path, "files", "Mine.")
        found = await system.ask(SKILLS, ReloadSkills())
        assert [(skill.id, skill.source) for skill in found.skills] == [("files", "own"), ("notes", "own")]
        assert library.tools["notes"] == ("note_add",)
        assert library.texts["files"] == "# Skill: Files\n\nMine."
        for skill_id in ("notes", "files"):
            (tmp_path / skill_id / "SKILL.md").unlink()
        await system.ask(SKILLS, ReloadSkills())
        assert (await system.ask(SKILLS, GetSkill("files"))).source == "builtin"
        with pytest.raises(NotFound):
            await system.ask(SKILLS, GetSkill("notes"))


async def test_broken_front_matter_keeps_the_old_version_and_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library = SkillLibrary(BUILTIN.values())
    write(tmp_path, "notes", "Take notes.")
    async with loading(tmp_path, library) as system:
        write(tmp_path, "notes", "Take other notes.", "tools: [unclosed\n")
        write(tmp_path, "new", "Never seen.", "category: [1]\n")
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                found = await system.ask(SKILLS, ReloadSkills())
        assert ids(found) == ["files", "notes"]
        assert library.texts["notes"].endswith("Take notes.")
        assert [(problem.skill_id, problem.kept) for problem in found.problems] == [("new", False), ("notes", True)]
        assert "not YAML at line" in found.problems[1].problem
        assert len([line for line in caplog.messages if "held the loop" not in line]) == 2
        assert "not YAML" in str((await system.inspect(SKILLS))["problems"])
        write(tmp_path, "notes", "Take better notes.")
        mended = await system.ask(SKILLS, ReloadSkills())
        assert [problem.skill_id for problem in mended.problems] == ["new"]
        assert library.texts["notes"].endswith("Take better notes.")


async def test_a_killed_loader_keeps_what_was_good_even_when_the_file_has_broken_since(tmp_path: Path) -> None:
    library = SkillLibrary(BUILTIN.values())
    write(tmp_path, "notes", "Take notes.")
    async with loading(tmp_path, library) as system:
        (tmp_path / "notes" / "SKILL.md").write_text("broken")
        before = library.skills
        await system.kill(SKILLS)
        found = await system.ask(SKILLS, ListSkills())
        assert library.skills["notes"] == before["notes"]
        assert [(problem.skill_id, problem.kept) for problem in found.problems] == [("notes", True)]


async def test_a_change_is_noticed_without_being_asked_for(tmp_path: Path) -> None:
    library = SkillLibrary(BUILTIN.values())
    async with loading(tmp_path, library, every=0.02):
        write(tmp_path, "notes", "Take notes.")
        while "notes" not in library.skills:
            await trio.sleep(0.01)
        write(tmp_path, "notes", "Take more notes.")
        while not library.texts["notes"].endswith("more notes."):
            await trio.sleep(0.01)
        (tmp_path / "notes" / "SKILL.md").unlink()
        while "notes" in library.skills:
            await trio.sleep(0.01)


async def test_who_looked_before_a_change_keeps_what_they_saw(tmp_path: Path) -> None:
    library = SkillLibrary(BUILTIN.values())
    async with loading(tmp_path, library) as system:
        seen = library.skills
        write(tmp_path, "files", "Mine.")
        await system.ask(SKILLS, ReloadSkills())
        assert seen["files"].source == "builtin"
        assert library.skills["files"].source == "own"
