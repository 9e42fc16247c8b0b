"""The file tools: what is in the workspace's folder can be reached, and nothing else."""

import os
import threading
from pathlib import Path

import msgspec
import pytest
import trio

from understudy.actors.agents.config import FileAccess
from understudy.actors.tools import folder as folders
from understudy.actors.tools.files import file_tools
from understudy.actors.tools.folder import Folder, FolderError
from understudy.actors.tools.messages import ToolContext, ToolResult
from understudy.actors.tools.toolbox import Toolbox
from understudy.storage.records import ToolCall

EVERYWHERE = FileAccess(restricted=False)


class Desk:
    """The tools on a folder, for an agent with this reach."""

    def __init__(self, root: Path, reach: FileAccess = EVERYWHERE, workspace: str = "ws_1") -> None:
        self.box = Toolbox(file_tools(root))
        self.context = ToolContext(workspace, "usr", "chad", "ses", "trn", files=reach)

    async def call(self, tool: str, **arguments: object) -> ToolResult:
        return await self.box.run(ToolCall("c", tool, msgspec.json.encode(arguments).decode()), self.context)

    async def ok(self, tool: str, **arguments: object) -> str:
        result = await self.call(tool, **arguments)
        assert result.ok, result.content
        return result.content

    async def no(self, tool: str, **arguments: object) -> str:
        result = await self.call(tool, **arguments)
        assert not result.ok, result.content
        return result.content


async def test_a_file_is_written_listed_read_appended_to_and_deleted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert await desk.ok("file_list") == "the folder is empty"
    assert await desk.ok("file_write", path="notes/plan.md", content="one\n") == "notes/plan.md: written, 4 bytes"
    await desk.ok("file_write", path="notes/plan.md", content="zwei ü\n", append=True)
    assert await desk.ok("file_read", path="./notes//plan.md") == "one\nzwei ü\n"
    assert await desk.ok("file_read", path="notes/plan.md", from_line=2) == "zwei ü\n"
    assert await desk.ok("file_list") == "notes/"
    assert await desk.ok("file_list", path="notes") == "plan.md  file, 12 bytes"
    assert await desk.no("file_delete", path="notes") == "notes: the folder is not empty"
    await desk.ok("file_delete", path="notes/plan.md")
    await desk.ok("file_delete", path="notes")
    assert "there is no such file" in await desk.no("file_read", path="notes/plan.md")
    await desk.ok("file_write", path="new.txt", content="x", append=True)
    assert os.listdir(tmp_path / "ws_1") == ["new.txt"]
    assert (tmp_path / "ws_1" / "new.txt").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/passwd", "a\\..\\x", "a\0b", "a\nb", "x" * 256, "a/" * 40 + "b", ".understudy-1"],
)
async def test_a_path_that_leads_elsewhere_is_refused_by_every_tool(tmp_path: Path, path: str) -> None:
    desk = Desk(tmp_path)
    (tmp_path / "x").write_text("outside")
    for tool, more in (("file_read", {}), ("file_write", {"content": "x"}), ("file_list", {}), ("file_delete", {})):
        said = await desk.no(tool, path=path, **more)
        assert str(tmp_path) not in said
    assert (tmp_path / "x").read_text() == "outside"


async def test_links_inside_work_and_links_that_leave_do_not(tmp_path: Path) -> None:
    desk, home = Desk(tmp_path), tmp_path / "ws_1"
    (tmp_path / "secret").write_text("secret")
    await desk.ok("file_write", path="deep/er/file", content="inside")
    (home / "near").symlink_to("deep/er")
    (home / "deep" / "back").symlink_to("../near/file")
    (home / "out").symlink_to("../secret")
    (home / "sly").symlink_to("deep/../../secret")
    (home / "abs").symlink_to(tmp_path / "secret")
    (home / "up").symlink_to("..")
    (home / "loop").symlink_to("loop")
    (home / "gone").symlink_to("nowhere/at/all")
    assert await desk.ok("file_read", path="near/file") == "inside"
    assert await desk.ok("file_read", path="deep/back") == "inside"
    await desk.ok("file_write", path="deep/back", content="changed")
    assert (home / "deep" / "back").is_symlink()
    assert (home / "deep" / "er" / "file").read_text() == "changed"
    for path in ("out", "sly", "abs", "up/secret", "up/ws_1/near/file"):
        assert "leads out of the workspace's folder" in await desk.no("file_read", path=path)
        assert "leads out of the workspace's folder" in await desk.no("file_write", path=path, content="x")
    assert "leads out" in await desk.no("file_list", path="up")
    assert "too many links" in await desk.no("file_read", path="loop")
    assert "no such file" in await desk.no("file_read", path="gone")
    assert "near  link" in await desk.ok("file_list")
    await desk.ok("file_delete", path="out")  # the link, and not what it leads to
    assert (tmp_path / "secret").read_text() == "secret"


async def test_a_folder_swapped_for_a_link_all_the_time_never_leads_out(tmp_path: Path) -> None:
    home = tmp_path / "ws_1"
    (home / "real").mkdir(parents=True)
    (home / "real" / "file").write_text("inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("SECRET")
    (home / "link").symlink_to(tmp_path / "outside")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(home / "real", home / "x")
            os.rename(home / "link", home / "real")
            os.rename(home / "real", home / "link")
            os.rename(home / "x", home / "real")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        for _ in range(2000):
            try:
                seen.add(Folder(home).read("real/file"))
            except FolderError as error:
                seen.add(str(error).encode())
    finally:
        stop.set()
        swapper.join()
    assert b"SECRET" not in seen
    assert b"inside" in seen


async def test_what_is_no_text_or_no_file_or_too_large_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, home = Desk(tmp_path), tmp_path / "ws_1"
    home.mkdir()
    (home / "image").write_bytes(b"\x89PNG\xff")
    (home / "nul").write_bytes(b"a\0b")
    (home / "large").write_bytes(b"a" * (folders.LARGEST_FILE + 1))
    os.mkfifo(home / "pipe")
    (home / "folder").mkdir()
    with trio.fail_after(30):
        assert "not text" in await desk.no("file_read", path="image")
        assert "not text" in await desk.no("file_read", path="nul")
        assert "1048577 bytes" in await desk.no("file_read", path="large")
        assert "no file" in await desk.no("file_read", path="pipe")
        assert "no file" in await desk.no("file_write", path="pipe", content="x")
        assert "that is no file" in await desk.no("file_read", path="folder")
        assert "file where the path needs a folder" in await desk.no("file_write", path="image/x", content="x")
        assert "the workspace's folder itself" in await desk.no("file_delete", path=".")
        assert "at most 1048576" in await desk.no("file_write", path="big", content="ü" * 600_000)
    monkeypatch.setattr(folders, "LARGEST_FOLDER", 2_000_000)
    await desk.ok("file_write", path="one", content="a" * 900_000)
    assert "no room" in await desk.no("file_write", path="two", content="a" * 900_000)
    monkeypatch.setattr(folders, "MOST_FILES", 6)
    assert "room for no more" in await desk.no("file_write", path="three", content="")


async def test_an_agent_reaches_what_its_configuration_names_and_by_no_link_more(tmp_path: Path) -> None:
    await Desk(tmp_path).ok("file_write", path="private/diary", content="mine")
    desk = Desk(tmp_path, FileAccess(restricted=True, allowed_paths=("shared", "notes/today.md")))
    await desk.ok("file_write", path="shared/a/b", content="x")
    await desk.ok("file_write", path="notes/today.md", content="x")
    assert await desk.ok("file_list", path="shared") == "a/"
    for path in ("private/diary", "sharedness", "notes/tomorrow.md", "notes"):
        assert "it may reach shared, notes/today.md" in await desk.no("file_read", path=path)
        assert "may not reach" in await desk.no("file_write", path=path, content="x")
    assert "may not reach" in await desk.no("file_list")
    (tmp_path / "ws_1" / "shared" / "door").symlink_to("../private")
    assert "may not reach" in await desk.no("file_read", path="shared/door/diary")
    nobody = Desk(tmp_path, FileAccess())
    assert "its fileAccess names no path" in await nobody.no("file_list")


async def test_workspaces_do_not_see_each_other(tmp_path: Path) -> None:
    await Desk(tmp_path, workspace="ws_1").ok("file_write", path="mine", content="x")
    assert await Desk(tmp_path, workspace="ws_2").ok("file_list") == "the folder is empty"
    assert await Desk(tmp_path, workspace="../ws_1").no("file_list") == "this workspace has no folder"


async def test_writers_of_one_file_follow_one_another(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with trio.open_nursery() as nursery:
        for number in range(20):

            async def add(number: int = number) -> None:
                await desk.ok("file_write", path="log", content=f"{number}\n", append=True)

            nursery.start_soon(add)
    lines = (await desk.ok("file_read", path="log")).split()
    assert sorted(map(int, lines)) == list(range(20))
