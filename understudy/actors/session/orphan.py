"""A turn that the database believes to be running, though whoever ran it is gone."""

from collections.abc import Sequence
from datetime import datetime

from understudy.actors.errors import Interrupted
from understudy.actors.session.facts import turn_ended
from understudy.actors.session.ports import SessionStore
from understudy.storage.entries import Entry, EventsAppended, TurnClosed
from understudy.storage.records import Message, Role, RunEvent, Session, Turn, TurnStatus, Usage, new_id
from understudy.storage.spending import TurnTrace

_PAGE = 1000
_NOTICE = "the turn was interrupted; what had been said is kept"


async def find_streamed(store: SessionStore, session: Session, turn: Turn) -> tuple[str, str]:
    """What the orphan had streamed: all of it, and the part that no stored message holds yet."""
    content = ""
    after = turn.first_seq
    while page := await store.events(session.id, after, _PAGE):
        content += "".join(e.data["content"] for e in page if e.type == "content" and e.turn_id == turn.id)
        after = page[-1].seq
    stored = await store.messages(session.id, limit=_PAGE)
    return content, content[_stored_length(stored, turn.id) :]


def _stored_length(messages: Sequence[Message], turn_id: str) -> int:
    return sum(len(m.content) for m in messages if m.turn_id == turn_id and m.role is Role.ASSISTANT)


def bury(session: Session, turn: Turn, content: str, rest: str, now: datetime) -> tuple[tuple[Entry, ...], RunEvent]:
    """What must be written, as one group, to end the orphan as interrupted, and the event that tells its readers."""
    message = None
    if rest:
        message = Message(
            id=new_id("msg"),
            session_id=session.id,
            turn_id=turn.id,
            role=Role.ASSISTANT,
            content=rest,
            created_at=now,
            status=TurnStatus.INTERRUPTED.value,
        )
    event = RunEvent(
        session_id=session.id,
        seq=session.last_seq + 1,
        turn_id=turn.id,
        type="error",
        data={"message": _NOTICE, "code": Interrupted.code, "turnId": turn.id},
        created_at=now,
    )
    closed = TurnClosed(
        epoch=session.epoch,
        turn_id=turn.id,
        session_id=session.id,
        status=TurnStatus.INTERRUPTED,
        finished_at=now,
        content=content,
        message=message,
        error_code=Interrupted.code,
        error_message=_NOTICE,
        trace=TurnTrace(new_id("trc")),
    )
    told = turn_ended(
        session,
        turn.id,
        TurnStatus.INTERRUPTED,
        started_at=turn.started_at,
        finished_at=now,
        usage=Usage(),
        tool_calls=0,
        error=_NOTICE,
        code=Interrupted.code,
    )
    return (closed, EventsAppended(session.epoch, session.id, (event,)), told), event
