"""A session's events on the wire, and the ids by which a reader comes back."""

import re
from typing import Any

from understudy.actors.session.messages import RunEvent
from understudy.http.errors import invalid
from understudy.http.request import ApiRequest
from understudy.http.sse import SKIP, Frame, Render, frame
from understudy.runtime import Lagged, Numbered

TERMINAL = frozenset({"done", "error"})
"""The types of a turn's last event."""

_EVENT_ID = re.compile(r"(?P<session>ses_[A-Za-z0-9_-]{1,64}):(?P<seq>\d{1,18})")


def event_id(session_id: str, seq: int) -> str:
    """The ``id:`` of an event, which says all that is needed to come back: whose, and which."""
    return f"{session_id}:{seq}"


def last_event_id(request: ApiRequest) -> tuple[str, int] | None:
    """The session and sequence number in ``Last-Event-ID``; None without the header."""
    given = request.headers.get("Last-Event-ID")
    if given is None or given == "":
        return None
    match = _EVENT_ID.fullmatch(given)
    if match is None:
        raise invalid("Last-Event-ID", "invalid_value", "Last-Event-ID is not an event id of ours")
    return match["session"], int(match["seq"])


def show(session_id: str, until: int | None = None) -> Render:
    """Render every event of a session; the one numbered *until* is the last."""

    def render(item: Any) -> Frame:
        if isinstance(item, Lagged):
            return Frame(b": lagged %d\n\n" % item.missed)
        event: RunEvent = item.event
        data = frame(event.type, event.data, event_id(session_id, item.seq))
        return Frame(data, until is not None and item.seq >= until)

    return render


def show_turn(session_id: str, turn_id: str, after: int) -> Render:
    """Render the events of one turn that follow *after*; its terminal event is the last.

    Events up to *after* are looked at and not shown: a reader who comes back after the terminal event has missed
    nothing, and its stream ends at once.
    """

    def render(item: Numbered[Any] | Lagged) -> Frame:
        if isinstance(item, Lagged):
            return Frame(b": lagged %d\n\n" % item.missed)
        event: RunEvent = item.event
        if event.turn_id != turn_id:
            return SKIP
        last = event.type in TERMINAL
        if item.seq <= after:
            return Frame(last=last)
        return Frame(frame(event.type, event.data, event_id(session_id, item.seq)), last)

    return render
