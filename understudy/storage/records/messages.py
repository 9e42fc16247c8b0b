"""What was said in sessions, and what a search finds of it."""

from datetime import datetime
from enum import StrEnum

import attrs


class Role(StrEnum):
    """Who a message is from."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    SYSTEM = "system"


@attrs.frozen
class ToolCall:
    """A tool call asked for by the model; ``arguments`` is the JSON text as it came."""

    id: str
    name: str
    arguments: str


@attrs.frozen
class Message:
    """One message of a session, in the order of ``position``.

    ``status`` is complete, cancelled, interrupted, failed, rolled_back or command: a partial answer is kept, and says
    so. ``compacted``: models are told of it by the session's summary.
    """

    id: str
    session_id: str
    turn_id: str | None
    role: Role
    content: str
    created_at: datetime
    position: int = 0
    status: str = "complete"
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tokens: int = 0
    compacted: bool = False


@attrs.frozen
class MessageHit:
    """A message that a search found. ``snippet`` is HTML, escaped, with the hits in ``<mark>``; ``score`` is 0 to 1."""

    message_id: str
    session_id: str
    workspace_id: str
    agent_id: str
    role: Role
    snippet: str
    score: float
    created_at: datetime
