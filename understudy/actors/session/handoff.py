"""Giving a conversation to another agent."""

from understudy.actors.errors import Conflict, Unavailable
from understudy.actors.facts import fact
from understudy.actors.session.messages import HandOff
from understudy.actors.session.running import OpeningLost
from understudy.actors.session.services import SessionServices
from understudy.runtime import Deferred, current_context
from understudy.storage.errors import StoreConflict, StoreUnavailable
from understudy.storage.records import AuditEntry, Message, Role, Session, new_id

EVENT = "session.handoff"
"""The fact, and the line in the audit log."""


async def transfer(
    session: Session, message: HandOff, services: SessionServices, asker: Deferred[Session]
) -> tuple[Session, Message]:
    """Write that the session is another agent's: (the session, the note in its history), committed.

    Raises `Conflict` when that agent has a conversation in the same place, and `OpeningLost`, after refusing the
    *asker*, when whether it was written could not be learnt: the actor must then start again from what the database
    knows. `Fenced` when a newer incarnation owns the session.
    """
    key, now = session.key, services.now()
    note = Message(new_id("msg"), session.id, None, Role.SYSTEM, _words(key.agent_id, message), now)
    data = {
        "sessionId": session.id,
        "fromAgentId": key.agent_id,
        "toAgentId": message.agent_id,
        "reason": message.reason,
    }
    told = fact(EVENT, uid=key.uid, workspace_id=key.workspace_id, data=data, at=now)
    line = AuditEntry(
        new_id("aud"),
        EVENT,
        "info",
        now,
        uid=key.uid,
        workspace_id=key.workspace_id,
        agent_id=message.agent_id,
        session_id=session.id,
        request_id=current_context().request_id,
        metadata={"from": key.agent_id, "to": message.agent_id},
    )
    try:
        moved = await services.store.hand_off(session.id, message.agent_id, note, told, line, epoch=session.epoch)
    except StoreConflict:
        raise Conflict(f"{message.agent_id} has a conversation in this place already: reset that one first") from None
    except StoreUnavailable as error:
        asker.fail(Unavailable("the database is away; try again", retry_after=error.retry_after))
        raise OpeningLost from error
    return moved, note


def _words(left: str, message: HandOff) -> str:
    # The reason is the user's: named as theirs, so that it is no order of ours to the agent.
    because = f' The user\'s reason: "{message.reason}"' if message.reason else ""
    return f"This conversation was handed over from the agent {left} to the agent {message.agent_id}.{because}"
