"""Checks of the machine and the process."""

import shutil
from pathlib import Path

import trio

from understudy.actors.diagnostics.check import Check, Finding, failed, passed, warned
from understudy.runtime import ActorSystem

MEGABYTE = 1024 * 1024
LOW_DISK, LAST_DISK = 1024 * MEGABYTE, 128 * MEGABYTE
LOW_MEMORY, LAST_MEMORY = 256 * MEGABYTE, 64 * MEGABYTE
SLOW_LOOP, STUCK_LOOP = 0.05, 0.5


def disk_free(directory: Path) -> Check:
    """There is room where the data is kept."""

    async def run(_: ActorSystem) -> Finding:
        # In a thread that may be left behind: a file system on the network can hang for minutes.
        usage = await trio.to_thread.run_sync(shutil.disk_usage, directory, abandon_on_cancel=True)
        message = f"{usage.free // MEGABYTE} MB free of {usage.total // MEGABYTE} MB"
        hint = "make room where the data directory lies, or move it"
        if usage.free < LAST_DISK:
            return failed(message, hint)
        return warned(message, hint) if usage.free < LOW_DISK else passed(message)

    return Check("machine.disk", run)


def memory_free() -> Check:
    """The machine has memory to spare."""

    async def run(_: ActorSystem) -> Finding:
        await trio.lowlevel.checkpoint()
        used, available = resident_bytes(), available_bytes()
        if used is None or available is None:
            return passed("this system does not tell")
        message = f"{used // MEGABYTE} MB in use by the server, {available // MEGABYTE} MB available"
        hint = "give the machine more memory, or look for what uses it"
        if available < LAST_MEMORY:
            return failed(message, hint)
        return warned(message, hint) if available < LOW_MEMORY else passed(message)

    return Check("machine.memory", run)


def loop_responsive() -> Check:
    """The event loop comes round in time: nothing holds it."""

    async def run(_: ActorSystem) -> Finding:
        late = 0.0
        for _round in range(5):
            due = trio.current_time() + 0.01
            await trio.sleep_until(due)
            late = max(late, trio.current_time() - due)
        message = f"up to {late * 1000:.1f} ms late over five rounds"
        hint = "see which handler held the loop: `understudy tree`, and the log lines of loop.held"
        if late > STUCK_LOOP:
            return failed(message, hint)
        return warned(message, hint) if late > SLOW_LOOP else passed(message)

    return Check("machine.loop", run)


def resident_bytes() -> int | None:
    """Memory that this process holds; None where the system does not tell (no ``/proc``)."""
    return _kilobytes(Path("/proc/self/status"), "VmRSS:")


def heap_bytes() -> int | None:
    """Memory for data that this process has asked for, touched or not; None where the system does not tell."""
    return _kilobytes(Path("/proc/self/status"), "VmData:")


def available_bytes() -> int | None:
    """Memory that can be had without swapping; None where the system does not tell."""
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable:")


def _kilobytes(path: Path, label: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(label):
            return int(line.split()[1]) * 1024
    return None
