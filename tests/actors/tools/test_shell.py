"""Commands: limited, alone in their group, and gone with whoever asked for them."""

from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest
import trio

from understudy.actors.agents.config import FileAccess
from understudy.actors.tools.messages import ToolContext, ToolResult
from understudy.actors.tools.shell import shell_tools
from understudy.actors.tools.toolbox import Toolbox
from understudy.storage.records import ToolCall

ANYWHERE = FileAccess(restricted=False)


async def shell(root: Path, command: str, reach: FileAccess = ANYWHERE, seconds: float = 20.0) -> ToolResult:
    box = Toolbox(shell_tools(root, seconds=seconds, largest=100_000))
    context = ToolContext("ws_1", "usr", "chad", "ses", "trn", files=reach)
    with trio.fail_after(30):
        return await box.run(ToolCall("c", "shell_exec", msgspec.json.encode({"command": command}).decode()), context)


async def gone(pids: Path) -> None:
    with trio.fail_after(30):
        for pid in map(int, pids.read_text().split()):
            with suppress(psutil.NoSuchProcess):
                while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    await trio.sleep(0.01)


async def test_a_command_runs_in_the_workspaces_folder_without_the_servers_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET", "secret")
    result = await shell(tmp_path, "pwd; echo oops >&2; env; exit 3")
    assert result.ok
    lines = result.content.splitlines()
    assert lines[0] == "ended with status 3"
    assert lines[2:4] == [str(tmp_path / "ws_1"), "oops"]
    names = {line.partition("=")[0] for line in lines[4:]}
    assert names <= {"PATH", "LANG", "LC_ALL", "TZ", "HOME", "PWD", "OLDPWD", "SHLVL", "_"}


async def test_an_agent_with_restricted_files_runs_nothing(tmp_path: Path) -> None:
    result = await shell(tmp_path, "touch x", FileAccess())
    assert (result.ok, "restricted" in result.content) == (False, True)
    assert not (tmp_path / "ws_1").exists()


async def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    result = await shell(tmp_path, "sleep 1000 & echo $! > pids; echo $$ >> pids; sleep 1000", seconds=0.5)
    assert (result.ok, "took longer than 0.5 s" in result.content) == (False, True)
    await gone(tmp_path / "ws_1" / "pids")


async def test_a_cancelled_command_is_gone_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "ws_1" / "pids"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell, tmp_path, "sleep 1000 & echo $! > made; echo $$ >> made; mv made pids; sleep 1000")
        with trio.fail_after(30):
            while not pids.exists():
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    await gone(pids)


async def test_what_a_command_leaves_in_the_background_ends_with_it(tmp_path: Path) -> None:
    result = await shell(tmp_path, "sleep 1000 & echo $! > pids; echo done")
    assert result.content == "ended with status 0\n\ndone\n"
    await gone(tmp_path / "ws_1" / "pids")


async def test_a_command_that_prints_without_end_is_cut_and_ended(tmp_path: Path) -> None:
    result = await shell(tmp_path, "yes")
    assert result.content.startswith("was ended: it printed more than 100000 bytes\n\ny\ny\n")
    assert result.truncated


async def test_a_command_that_wants_too_much_memory_does_not_get_it(tmp_path: Path) -> None:
    hungry = "python3 -c 'x = bytearray(4 * 1024**3)' 2>&1 | tail -1; ulimit -v"
    result = await shell(tmp_path, hungry)
    assert "MemoryError" in result.content or "not found" in result.content
    assert result.content.endswith("2097152\n")
