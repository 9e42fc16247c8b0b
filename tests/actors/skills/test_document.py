"""What is a skill file, and what is not."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.skills.document import LARGEST, BadSkill, read_skill
from understudy.actors.skills.folders import builtin_skills, look, read

WHOLE = b"""\
---
name: release-notes
description: Write release notes. Use when asked for a changelog.
displayName: Release notes
category: writing
version: 1.10
tools: [file_read, file_write, file_read]
license: MIT
---

Sort the changes by what they mean to a user.
"""


def test_a_whole_file_is_read_with_all_its_fields() -> None:
    skill = read_skill("release_notes", WHOLE, "own")
    assert (skill.id, skill.display_name, skill.category) == ("release_notes", "Release notes", "writing")
    assert skill.description == "Write release notes. Use when asked for a changelog."
    assert (skill.version, skill.tools, skill.source) == ("1.1", ("file_read", "file_write"), "own")
    assert skill.instructions == "Sort the changes by what they mean to a user."


def test_a_skill_in_the_open_form_needs_a_name_a_description_and_instructions() -> None:
    text = "\ufeff---\r\nname: tidy-up\r\ndescription: Tidy.\r\nallowed-tools: Read file_list\r\n"
    skill = read_skill("tidy-up", f'{text}metadata:\r\n  version: "2"\r\n---\r\nTidy up.'.encode(), "own")
    assert (skill.display_name, skill.category, skill.version) == ("Tidy up", "general", "2")
    assert (skill.tools, skill.instructions) == (("Read", "file_list"), "Tidy up.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "does not begin with front matter"),
        (b"# Just Markdown", "does not begin with front matter"),
        (b"---\nname: x\ndescription: d\n", "does not begin with front matter"),
        (b"---\nname: [x\n---\nbody", "not YAML at line"),
        (b"---\nname: !!python/object:os.system x\n---\nbody", "not YAML"),
        (b"---\nname: x\ndescription: 2026-13-45\n---\nbody", "not YAML"),
        (b"---\n" + b"[" * 2000 + b"\n---\nbody", "not YAML"),
        (b"---\n- x\n---\nbody", "not a mapping"),
        (b"---\ndescription: d\n---\nbody", "name: missing"),
        (b"---\nname: y\ndescription: d\n---\nbody", "name: 'y' is not the name of the folder"),
        (b"---\nname: x\n---\nbody", "description: missing"),
        (b"---\nname: x\ndescription: [d]\n---\nbody", "description: must be text"),
        (b"---\nname: x\ndescription: '" + b"d" * 1025 + b"'\n---\nbody", "description: longer than 1024"),
        (b"---\nname: x\ndescription: d\ntools: {a: b}\n---\nbody", "tools: must be a list"),
        (b"---\nname: x\ndescription: d\ntools: [1]\n---\nbody", "tools: must be a list"),
        (b"---\nname: x\ndescription: d\n---\n  \n", "no instructions"),
        (b"---\nname: x\ndescription: d\n---\n\xff", "not UTF-8"),
        (b"---\nname: x\ndescription: d\n---\na\0b", "NUL"),
        (b"---\nname: x\ndescription: d\n---\n" + b"a" * LARGEST, "larger than 64 KB"),
    ],
)
def test_what_is_no_skill_says_why(text: bytes, words: str) -> None:
    with pytest.raises(BadSkill, match=words):
        read_skill("x", text, "own")


@pytest.mark.parametrize("name", ["cache", "search", "Upper", "a b", "-x", "x-", "é", "a" * 65])
def test_some_names_are_no_skills_name(name: str) -> None:
    with pytest.raises(BadSkill, match=r"reserved|folder's name"):
        read_skill(name, f"---\nname: {name}\ndescription: d\n---\nbody".encode(), "own")


@given(st.binary(max_size=300))
def test_whatever_a_file_holds_it_is_a_skill_or_it_is_said_why_not(noise: bytes) -> None:
    for text in (noise, b"---\n" + noise + b"\n---\nbody", WHOLE.replace(b"MIT", noise)):
        try:
            read_skill("release-notes", text, "own")
        except BadSkill:
            continue


def test_the_seven_built_in_skills_are_whole() -> None:
    skills = builtin_skills()
    assert set(skills) == {
        "web_research", "files", "memory", "planning", "monitoring", "summarise", "code_review",
    }  # fmt: skip
    for skill in skills.values():
        assert skill.source == "builtin"
        assert skill.tools
        assert 500 < len(skill.instructions) < 4000
        assert "{{" not in skill.instructions


def test_what_cannot_be_read_is_said_and_what_is_no_folder_is_no_skill(tmp_path: Path) -> None:
    (tmp_path / "directory" / "SKILL.md").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("not a folder")
    os.makedirs(os.fsencode(tmp_path) + b"/not \xff text")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/not \xff text"), "SKILL.md").write_bytes(WHOLE)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "SKILL.md").write_bytes(WHOLE)
    seen = look(tmp_path)
    assert set(seen) == {"directory"}
    assert read(tmp_path, "directory", seen["directory"], "own").problem
    assert read(tmp_path, "gone", (0, 0, 0), "own").problem == "SKILL.md cannot be read: No such file or directory"
    assert look(tmp_path / "nowhere") == {}


def test_a_pipe_in_the_place_of_the_file_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "SKILL.md")
    assert read(tmp_path, "pipe", (0, 0, 0), "own").problem == "SKILL.md is no regular file"
