"""What the rest of the node is told of a turn that has ended."""

from datetime import datetime

from understudy.actors.facts import CANCELLED, COMPLETED, FAILED, fact
from understudy.storage.entries import Published
from understudy.storage.records import Session, TurnStatus, Usage

_EVENTS = {TurnStatus.COMPLETED: COMPLETED, TurnStatus.CANCELLED: CANCELLED}


def turn_ended(
    session: Session,
    turn_id: str,
    status: TurnStatus,
    *,
    started_at: datetime,
    finished_at: datetime,
    usage: Usage,
    tool_calls: int,
    model: str | None = None,
    error: str | None = None,
    code: str | None = None,
) -> Published:
    """The fact to be written with the turn's end, whichever way it ended. One id however often."""
    data: dict[str, object] = {
        "agentId": session.key.agent_id,
        "sessionId": session.id,
        "turnId": turn_id,
        "surface": session.key.surface,
        "durationMs": round((finished_at - started_at).total_seconds() * 1000),
        "usage": {
            "promptTokens": usage.prompt_tokens,
            "completionTokens": usage.completion_tokens,
            "totalTokens": usage.total_tokens,
        },
        "toolCallCount": tool_calls,
        "model": model,
    }
    if status is not TurnStatus.COMPLETED:
        data |= {"error": error, "code": code}
    event = _EVENTS.get(status, FAILED)
    key = session.key
    return fact(
        event,
        uid=key.uid,
        workspace_id=key.workspace_id,
        data=data,
        at=finished_at,
        id=f"evt_{turn_id.removeprefix('trn_')}",
    )
