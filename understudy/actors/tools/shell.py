"""`shell_exec`: a command in the workspace's folder, for servers whose operator has switched it on.

It runs as the server's own user: what that user may read and do, the command may. The limits here keep a mistake small;
they are no wall against malice.
"""

import os
import signal
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
from msgspec import Meta

from understudy.actors.lifeline import Lifeline
from understudy.actors.tools.files import WORKSPACE
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.tool import Arguments, Tool, ToolFailed

SECONDS = 60.0
LARGEST_OUTPUT = 1_048_576
MEMORY_KB = 2 * 1_048_576
"""Address space of each process."""
CPU_SECONDS = 60
FILE_BLOCKS = 204_800
"""Of 512 bytes: 100 MB."""

_LIMITED = (
    f"ulimit -c 0 && ulimit -v {MEMORY_KB} && ulimit -t {CPU_SECONDS} && ulimit -f {FILE_BLOCKS}"
    ' && exec /bin/sh -c "$1" sh'
)
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ")


class ShellExec(Arguments, frozen=True):
    """Arguments of ``shell_exec``."""

    command: Annotated[str, Meta(min_length=1, max_length=8192, description="what /bin/sh -c is to run")]


def shell_tools(root: Path, *, seconds: float = SECONDS, largest: int = LARGEST_OUTPUT) -> list[Tool]:
    """The tool, in folders below *root*, one for each workspace."""
    root = root.absolute()  # it is the command's home, too

    async def shell_exec(arguments: ShellExec, context: ToolContext) -> str:
        if context.files.restricted:
            raise ToolFailed("a command can reach every file, and this agent may not: its fileAccess is restricted")
        if not WORKSPACE.fullmatch(context.workspace_id) or "\0" in arguments.command:
            raise ToolFailed("that cannot be run here")
        folder = root / context.workspace_id
        await trio.to_thread.run_sync(partial(folder.mkdir, mode=0o700, parents=True, exist_ok=True))
        status, output, cut = await run_limited(arguments.command, folder, largest)
        ending = f"ended with status {status}" if status >= 0 else f"was ended by {signal.Signals(-status).name}"
        if cut:
            ending = f"was ended: it printed more than {largest} bytes"
        return f"{ending}\n\n{output.decode('utf-8', 'replace')}"

    return [
        Tool(
            "shell_exec",
            f"Run a shell command in the workspace's folder, for at most {seconds:g} s; tells all it prints.",
            ShellExec,
            shell_exec,
            timeout=seconds,
            serial=True,
            acts=True,
        )
    ]


async def run_limited(command: str, folder: Path, largest: int) -> tuple[int, bytes, bool]:
    """Run *command* in a session of its own: its status, what it printed, and whether it was ended for printing more.

    When this returns, raises or is cancelled, the command's process group is gone; what left the group by itself
    (``setsid``) is not followed. When this server is killed, the group is, too.
    """
    with Lifeline() as lifeline:
        return await _run(lifeline, command, folder, largest)


async def _run(lifeline: Lifeline, command: str, folder: Path, largest: int) -> tuple[int, bytes, bool]:
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    process = await trio.lowlevel.open_process(
        lifeline.command(["/bin/sh", "-c", _LIMITED, "sh", command]),
        pass_fds=lifeline.inherited,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment | {"HOME": str(folder)},
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101  # it was asked for
    output = bytearray()
    cut = False

    async def read(stream: trio.abc.ReceiveStream) -> None:
        nonlocal cut
        while data := await stream.receive_some(65_536):
            output.extend(data[: largest - len(output)])
            if len(output) >= largest:
                cut = True
                if process.returncode is None:
                    _kill_group(process)
                return

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, process.stdout)
            await process.wait()
            # What it left in the background would hold its output open, and run on. The group is its own as long as
            # somebody is in it, and nobody has had the time to be given its number since.
            _kill_group(process)
            nursery.cancel_scope.deadline = trio.current_time() + 1.0
    finally:
        if process.returncode is None:
            _kill_group(process)
        with trio.move_on_after(5.0, shield=True):
            await process.wait()
            await process.stdout.aclose()
    return process.returncode or 0, bytes(output), cut


def _kill_group(process: trio.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
