"""What stands before every prompt: the house rules, and the files of the workspace as they are now."""

import os
from pathlib import Path

import pytest

from tests.actors.session.stage import stage
from understudy.actors.session.ground import LONGEST, LONGEST_FILE, BadSoul, Ground, read_soul

PRINCIPLES = ("harm", "truth", "user decides", "open", "measure", "manipulate", "confidences", "answer for it")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ws_1").mkdir()
    return tmp_path / "ws_1"


def write(path: Path, text: str) -> None:
    path.write_text(text)
    # As after a moment: some file systems tell times apart by milliseconds only.
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1_000_000 * len(text)))


def test_the_rules_that_come_with_the_server_name_eight_principles(tmp_path: Path) -> None:
    soul = read_soul(tmp_path).lower()
    assert [principle for principle in PRINCIPLES if principle not in soul] == []


def test_an_operators_own_rules_take_their_place_if_they_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "SOUL.md").write_text("  Be kind.\n")
    assert read_soul(tmp_path) == "Be kind."
    for bad in (b"\xff\xfe", b"x" * 20_001, b"a\x00b"):
        (tmp_path / "SOUL.md").write_bytes(bad)
        with pytest.raises(BadSoul, match=r"SOUL\.md"):
            read_soul(tmp_path)


async def test_files_are_told_in_their_order_and_a_change_from_the_next_message_on(folder: Path) -> None:
    ground = Ground("Rules.", folder.parent)
    assert await ground.preface("ws_1") == "Rules."
    for name in ("zebra.md", "IDENTITY.md", "alpha.md", "AGENTS.md", "notes.txt", ".hidden.md"):
        write(folder / name, f"I am {name}")
    told = await ground.preface("ws_1")
    at = [told.index(f"## {name}\n\nI am {name}") for name in ("AGENTS.md", "IDENTITY.md", "alpha.md", "zebra.md")]
    assert at == sorted(at)
    assert told.startswith("Rules.\n\n# Files of the workspace")
    assert "notes" not in told
    assert "hidden" not in told
    write(folder / "alpha.md", "changed in place")
    assert "changed in place" in await ground.preface("ws_1")
    (folder / "alpha.md").unlink()
    assert "alpha" not in await ground.preface("ws_1")
    assert await ground.preface("ws_2") == "Rules."


async def test_long_files_are_cut_and_say_so_and_there_is_an_end_to_all_of_them(folder: Path) -> None:
    for number in range(12):
        write(folder / f"{number:02}.md", str(number % 10) * 19_000)
    write(folder / "AGENTS.md", "a" * (LONGEST_FILE + 5))
    told = await Ground("", folder.parent).preface("ws_1")
    assert f"[cut: the first {LONGEST_FILE} of {LONGEST_FILE + 5} characters]" in told
    assert LONGEST - 20_000 < len(told) < LONGEST + 1000
    assert "## 00.md" in told
    assert "## 11.md" not in told


async def test_nothing_outside_the_folder_is_told(folder: Path) -> None:
    (folder.parent / "secret.md").write_text("SECRET")
    (folder / "AGENTS.md").symlink_to(folder.parent / "secret.md")
    os.mkfifo(folder / "USER.md")
    (folder / "binary.md").write_bytes(b"\xff\x00")
    (folder.parent / "ws_3").symlink_to(folder.parent)
    ground = Ground("Rules.", folder.parent)
    assert "SECRET" not in await ground.preface("ws_1")
    for workspace in ("ws_3", "..", "../ws_1", ""):
        assert await ground.preface(workspace) == "Rules."


async def test_a_turn_is_told_of_them_before_the_agents_prompt(folder: Path) -> None:
    write(folder / "USER.md", "She is called Mira.")
    async with stage(ground=Ground("Rules.", folder.parent)) as it:
        await it.chat("hi")
        system = it.models.requests[0].messages[0].content
        assert system.startswith(
            "Rules.\n\n# Files of the workspace\n\n## USER.md\n\nShe is called Mira.\n\nYou are Chad."
        )
