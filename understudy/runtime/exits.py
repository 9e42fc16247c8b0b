"""Why an actor ended: five values, nothing else."""

from __future__ import annotations

from typing import TypeAlias

import attrs


@attrs.frozen
class Normal:
    """It was done."""


@attrs.frozen
class Shutdown:
    """It was told to stop, and did. ``reason`` is for people."""

    reason: str = "stopped"


@attrs.frozen
class Killed:
    """It was cancelled without being asked, or did not stop in time. ``stopping()`` did not run to its end."""

    reason: str = "killed"


@attrs.frozen
class NotFound:
    """There was nothing at the address when the monitor was set."""


@attrs.frozen
class Crashed:
    """An exception got out of it."""

    error: BaseException


Exit: TypeAlias = Normal | Shutdown | Killed | NotFound | Crashed


def is_abnormal(exit: Exit) -> bool:
    """Whether *exit* restarts a ``transient`` child and passes along links."""
    return isinstance(exit, Crashed | Killed)


def error_of(exit: Exit) -> BaseException | None:
    """Return the exception behind *exit*, if there is one."""
    return exit.error if isinstance(exit, Crashed) else None
