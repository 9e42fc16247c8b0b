"""Finding messages by their words, in memory and on PostgreSQL."""

from typing import Any

import attrs

from tests.support.storage import Store, at, closed, message, opened, session_key
from understudy.storage.finding import marked
from understudy.storage.records import Role, Session, TurnStatus, new_id


async def say(store: Store, session: Session, question: str, answer: str, **closing: Any) -> None:
    turn = new_id("trn")
    await store.write(opened(session, turn, message=message(session, turn, content=question)))
    said = message(session, turn, Role.ASSISTANT, answer, created_at=at(1))
    await store.write(closed(session, turn, message=said, **closing))


async def test_messages_are_found_by_all_their_words_with_the_hits_marked(store: Store) -> None:
    session = await store.session()
    await say(store, session, "What about the invoice of Lisbon?", "The invoice <b>42</b> & the invoice 43 are due")
    search = store.repositories.sessions.search_messages
    best, other = await search(session.key.uid, "invoice")
    assert (best.role, other.role) == (Role.ASSISTANT, Role.USER), "it says the word twice"
    assert 0 < other.score < best.score < 1
    assert best.snippet.count("<mark>invoice</mark>") == 2
    assert "&amp; the" in best.snippet
    assert "<b>" not in best.snippet
    assert (best.session_id, best.agent_id, best.workspace_id) == (session.id, "chad", session.key.workspace_id)
    assert [hit.role for hit in await search(session.key.uid, "invoice lisbon")] == [Role.USER]
    assert await search(session.key.uid, "invoice madrid") == ()
    assert len(await search(session.key.uid, "invoice", limit=1)) == 1


async def test_nothing_that_is_typed_into_a_search_is_an_error(store: Store) -> None:
    session = await store.session()
    await say(store, session, "hello", "hi")
    for text in ("'", '"', "a & | ! ( ) :* <->", "\\", "%s", "the", "🙂", "-", "or", 'a"b'):
        await store.repositories.sessions.search_messages(session.key.uid, text)


async def test_archived_sessions_are_searched_and_nobody_elses_nor_what_was_taken_back(store: Store) -> None:
    session = await store.session()
    await say(store, session, "the heron question", "the heron answer")
    await store.repositories.sessions.reset(session.id, at(5), epoch=session.epoch)
    await say(store, await store.session(), "another heron", "the heron of somebody else")
    search = store.repositories.sessions.search_messages
    assert {hit.session_id for hit in await search(session.key.uid, "heron")} == {session.id}
    assert await search(session.key.uid, "heron", workspace_id="ws_other") == ()
    third = await store.session()
    await say(store, third, "a heron", "no heron", status=TurnStatus.CANCELLED, rolled_back=True)
    assert await search(third.key.uid, "heron") == ()


async def test_a_message_longer_than_the_index_holds_is_kept_all_the_same(store: Store) -> None:
    session = await store.session()
    long = " ".join(f"{number:x}" for number in range(300_000))
    await say(store, session, "early heron", f"bittern {long} late")
    search = store.repositories.sessions.search_messages
    assert len(await search(session.key.uid, "bittern")) == 1
    assert await search(session.key.uid, "late") == ()


async def test_what_agents_called_and_were_given_is_not_what_was_said(store: Store) -> None:
    session = await store.session()
    turn = new_id("trn")
    asked = message(session, turn, Role.TOOL, "a heron of a tool")
    await store.write(opened(session, turn, message=attrs.evolve(asked, tool_call_id="tc_1")))
    assert await store.repositories.sessions.search_messages(session.key.uid, "heron") == ()


async def test_everybodys_sessions_of_a_workspace_are_one_list(store: Store) -> None:
    mira, workspace = await store.user("mira@example.org")
    noor, _ = await store.user("noor@example.org")
    sessions = store.repositories.sessions
    await sessions.open(session_key(mira, workspace), at(0))
    await sessions.open(session_key(noor, workspace), at(1))
    await store.session()
    found, total = await sessions.list(None, workspace_id=workspace.id)
    assert ([session.key.uid for session in found], total) == ([noor.id, mira.id], 2)


def test_marks_in_the_text_itself_are_no_marks() -> None:
    assert marked("a \ue000hit\ue001 and \ue001<i>\ue000") == "a <mark>hit</mark> and &lt;i&gt;"
