"""A session changes hands whole or not at all, in memory and on PostgreSQL."""

from datetime import timedelta

import attrs
import pytest

from tests.support.storage import Store, at, closed, message, opened
from understudy.storage.entries import Published
from understudy.storage.errors import Fenced, StoreConflict
from understudy.storage.records import AuditEntry, Message, Role, Session, new_id


def parts(session: Session) -> tuple[Message, Published, AuditEntry]:
    note = message(session, None, Role.SYSTEM, "handed over", created_at=at(9))
    told = Published(new_id("evt"), "session.handoff", session.key.workspace_id, b"{}", at(9))
    line = AuditEntry(new_id("aud"), "session.handoff", "info", at(9), uid=session.key.uid, session_id=session.id)
    return note, told, line


async def test_handing_over_changes_the_key_and_leaves_a_note_a_fact_and_a_line(store: Store) -> None:
    session = await store.session()
    await store.write(opened(session, "trn_1"))
    await store.write(closed(session, "trn_1"))
    note, told, line = parts(session)
    sessions = store.repositories.sessions
    for _ in range(2):  # the second: our own first attempt, whose answer was lost
        moved = await sessions.hand_off(session.id, "coder", note, told, line, epoch=session.epoch)
        assert (moved.key, moved.message_count) == (attrs.evolve(session.key, agent_id="coder"), 3)
        assert moved.last_active_at == at(9)
    assert [said.content for said in await sessions.messages(session.id)][-1] == "handed over"
    assert [entry.event for entry in await store.repositories.audit.of_user(session.key.uid)] == ["session.handoff"]
    (item,) = await store.repositories.outbox.claim(9, now=at(10), lease=timedelta(seconds=9))
    assert (item.id, item.topic) == (told.id, "session.handoff")
    again, made = await sessions.open(session.key, at(10))
    assert (made, again.id == session.id) == (True, False), "the old key is free"
    await store.write(opened(session, "trn_2", message=message(session, "trn_2", created_at=at(11))))
    positions = [said.position for said in await sessions.messages(session.id)]
    assert positions == [1, 2, 3, 4]


async def test_a_conversation_that_the_other_agent_has_already_stays_his(store: Store) -> None:
    session = await store.session()
    sessions = store.repositories.sessions
    await sessions.open(attrs.evolve(session.key, agent_id="coder"), at(1))
    with pytest.raises(StoreConflict) as refused:
        await sessions.hand_off(session.id, "coder", *parts(session), epoch=session.epoch)
    assert refused.value.what == "conversation"
    assert (await sessions.load(session.id)) == session
    assert await sessions.messages(session.id) == ()
    assert await store.repositories.audit.of_user(session.key.uid) == ()


async def test_who_was_fenced_or_archived_hands_nothing_over(store: Store) -> None:
    session = await store.session()
    sessions = store.repositories.sessions
    with pytest.raises(Fenced):
        await sessions.hand_off(session.id, "coder", *parts(session), epoch=session.epoch - 1)
    await sessions.reset(session.id, at(3), epoch=session.epoch)
    with pytest.raises(Fenced):
        await sessions.hand_off(session.id, "coder", *parts(session), epoch=session.epoch)
