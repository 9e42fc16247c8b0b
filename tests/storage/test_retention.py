"""Conversations are kept for as long as their workspace wants."""

from datetime import timedelta
from typing import Any

from tests.support.storage import NODE, START, Store, closed, opened
from understudy.storage.records import Session, SessionKey, User, Workspace, new_id


async def conversation(store: Store, settings: dict[str, Any]) -> Session:
    """A session of a new workspace with these settings."""
    user = User(new_id("usr"), f"{new_id('x').lower()}@example.org", "hash", START)
    workspace = Workspace(new_id("ws"), "Work", user.id, "personal", START, settings=settings)
    await store.repositories.users.create(user, workspace)
    key = SessionKey(workspace.id, user.id, "chad", "chat", "main")
    session, _ = await store.repositories.sessions.open(key, START)
    claimed = await store.repositories.sessions.claim(session.id, NODE)
    assert claimed is not None
    return claimed


async def test_what_is_no_number_of_days_is_no_wish(store: Store) -> None:
    await conversation(store, {})
    for days in (None, "7", True, 0, -3, 3651, 10**30, [7]):
        await conversation(store, {"retentionDays": days})
    assert await store.repositories.retention.purge(START + timedelta(days=99_999)) == ()


async def test_a_quiet_conversation_goes_with_all_that_was_said_in_it_and_a_busy_one_stays(store: Store) -> None:
    short, long = await conversation(store, {"retentionDays": 7}), await conversation(store, {"retentionDays": 30})
    busy = await conversation(store, {"retentionDays": 7})
    turn = opened(short)
    await store.write(turn)
    await store.write(closed(short, turn.turn_id))
    await store.write(opened(busy))
    retention, sessions = store.repositories.retention, store.repositories.sessions
    assert await retention.purge(START + timedelta(days=7)) == ()
    assert await retention.purge(START + timedelta(days=8)) == ((short.id, short.key),)
    assert await sessions.load(short.id) is None
    assert await sessions.messages(short.id, limit=9, before=None) == ()
    assert await sessions.turn(turn.turn_id) is None
    assert await retention.purge(START + timedelta(days=31)) == ((long.id, long.key),)
    assert await sessions.load(busy.id) is not None
