"""The last messages of an actor, kept always, for after the accident."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from understudy.runtime.context import Origin

# As kept: began, message type, sender, origin, outcome, seconds. A tuple, because one is made per message; the message
# itself is not kept, since it may hold a secret and a lot of memory.
RawEntry: TypeAlias = "tuple[float, type, str | None, Origin | None, str, float]"


@attrs.frozen
class TraceEntry:
    """One message handled. ``began`` is on trio's clock, ``seconds`` how long it took, awaiting included.

    ``outcome`` is one of ``ok``, ``refused``, ``crashed``, ``killed``.
    """

    began: float
    message: str
    sender: str | None
    request_id: str | None
    outcome: str
    seconds: float


def entry_of(raw: RawEntry) -> TraceEntry:
    """Make *raw* readable."""
    began, kind, sender, origin, outcome, seconds = raw
    return TraceEntry(began, kind.__name__, sender, origin.request_id if origin else None, outcome, seconds)
