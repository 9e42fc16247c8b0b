"""A crash, kept for people to read without keeping alive what crashed."""

from __future__ import annotations

import traceback
from typing import final

import attrs


@final
@attrs.frozen
class Crash:
    """The last crash of an actor. ``at`` is on trio's clock; ``message`` is the type being handled, if any.

    The stack is summarised at once and formatted only when read: formatting takes longer than a restart.
    """

    at: float
    error: str
    message: str | None
    _summary: traceback.TracebackException = attrs.field(repr=False, eq=False)

    @property
    def traceback(self) -> str:
        """The formatted traceback, causes included."""
        return "".join(self._summary.format())

    @classmethod
    def of(cls, error: BaseException, at: float, message: str | None) -> Crash:
        """Summarise *error*."""
        summary = traceback.TracebackException(type(error), error, error.__traceback__, lookup_lines=False)
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return cls(at, text, message, summary)
