"""Programs that end with whoever started them, though that one is killed and they do not listen."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import trio

HOLDER = """
import subprocess, sys
from understudy.actors.lifeline import Lifeline

with Lifeline() as lifeline:
    command = lifeline.command(["/bin/sh", "-c", "trap '' HUP INT TERM; sleep 1000 & echo $! $$; exec sleep 1000"])
    program = subprocess.Popen(
        command, pass_fds=lifeline.inherited, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    print(program.pid, program.stdout.readline().decode().strip(), flush=True)
    sys.stdin.read()
"""


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def group(leader: int) -> list[int]:
    """Who lives in the process group."""
    found = []
    for process in psutil.process_iter(["pid"]):
        try:
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat[2]) == leader and stat[0] != "Z":
            found.append(process.pid)
    return found


@pytest.mark.parametrize("how", ["killed", "left"])
async def test_a_program_that_ignores_everything_is_gone_with_its_children_when_its_holder_is(how: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        line = await trio.to_thread.run_sync(holder.stdout.readline)
        leader, child, same = map(int, line.split())
        assert leader == same, "the program is the process that was started"
        assert {leader, child} < set(group(leader))
        if how == "killed":
            holder.send_signal(signal.SIGKILL)
        else:
            holder.stdin.close()
        with trio.fail_after(20):
            while not (is_gone(leader) and is_gone(child)) or group(leader):
                await trio.sleep(0.01)
