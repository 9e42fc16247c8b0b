"""What the journal promises of groups, whoever keeps the rows."""

import hashlib

import attrs
import pytest

from tests.support.storage import NODE, START, Store, at, closed, events, key, message, opened
from understudy.storage.entries import Audited, Entry, EventsAppended, MessagesAdded, Published
from understudy.storage.errors import Fenced, StoreConflict
from understudy.storage.records import AuditEntry, Role, RunEvent, Session, ToolCall, TurnStatus, Usage, new_id


async def reload(store: Store, session: Session) -> Session:
    loaded = await store.repositories.sessions.load(session.id)
    assert loaded is not None
    return loaded


async def test_a_whole_turn_is_read_back_as_it_was_written(store: Store) -> None:
    session = await store.session()
    begin = opened(session, idempotency=key())
    end = closed(session, begin.turn_id, model="openai/x", tools_used=("calculator", "http_get"))
    await store.write(begin)
    await store.write(events(session, 1, 2, 3, turn_id=begin.turn_id))
    await store.write(events(session, 4, turn_id=begin.turn_id), end)

    turn = await store.repositories.sessions.turn(begin.turn_id)
    assert turn is not None
    assert (turn.status, turn.content, turn.model) == (TurnStatus.COMPLETED, "hi there", "openai/x")
    assert (turn.tools_used, turn.usage, turn.finished_at) == (("calculator", "http_get"), Usage(10, 5), at(2))
    assert turn.idempotency == key()

    said = await store.repositories.sessions.messages(session.id)
    assert [(x.position, x.role, x.content) for x in said] == [(1, Role.USER, "hello"), (2, Role.ASSISTANT, "hi there")]
    assert [x.seq for x in await store.repositories.sessions.events(session.id, 0, 100)] == [1, 2, 3, 4]

    after = await reload(store, session)
    assert (after.last_seq, after.message_count, after.token_count, after.last_active_at) == (4, 2, 15, at(2))


async def test_events_come_back_with_the_data_they_went_in_with(store: Store) -> None:
    session = await store.session()
    data = {"z": 1, "a": ["ü", None, 1.5, True], "nested": {"quote": '"\\u0000"', "newline": "\n"}}
    event = RunEvent(session.id, 1, None, "tool_result", data, at(1))
    await store.write(EventsAppended(session.epoch, session.id, (event,)))
    assert await store.repositories.sessions.events(session.id, 0, 10) == (event,)
    assert await store.repositories.sessions.event(session.id, 1) == event
    assert await store.repositories.sessions.event(session.id, 2) is None
    (read,) = await store.repositories.sessions.events(session.id, 0, 10)
    assert list(read.data) == ["z", "a", "nested"]


async def test_every_kind_of_group_may_be_written_twice_and_counts_once(store: Store) -> None:
    session = await store.session()
    begin = opened(session, idempotency=key())
    line = Audited(AuditEntry(new_id("aud"), "turn.started", "low", START, uid=session.key.uid))
    fact = Published(new_id("out"), "turn", session.key.workspace_id, b"\x00\xff", START)
    more = MessagesAdded(session.epoch, session.id, (message(session, begin.turn_id, Role.TOOL, "42"),))
    end = closed(session, begin.turn_id)
    groups: list[tuple[Entry, ...]] = [(begin, line), (events(session, 1, 2),), (more, fact), (end,)]
    for group in groups:
        for _ in range(2):
            await store.write(*group)
    after = await reload(store, session)
    assert (after.message_count, after.token_count, after.last_seq) == (3, 15, 2)
    assert [x.position for x in await store.repositories.sessions.messages(session.id)] == [1, 2, 3]
    assert len(await store.repositories.audit.of_user(session.key.uid)) == 1
    assert (await store.repositories.audit.verify()).entries == 1


async def test_a_whole_batch_may_be_written_twice_and_counts_once(store: Store) -> None:
    session = await store.session()
    begin = opened(session, idempotency=key())
    batch: list[tuple[Entry, ...]] = [(begin,), (events(session, 1, 2),), (closed(session, begin.turn_id),)]
    assert await store.journal.write(batch) == (None, None, None)
    late = (events(session, 3),)
    assert await store.journal.write([*batch, late]) == (None, None, None, None)
    after = await reload(store, session)
    assert (after.message_count, after.token_count, after.last_seq) == (2, 15, 3)


async def test_a_group_of_an_older_epoch_is_fenced_and_its_neighbours_are_not(store: Store) -> None:
    stale = await store.session()
    other = await store.session()
    fresh = await store.repositories.sessions.claim(stale.id, NODE)
    assert fresh is not None
    outcomes = await store.journal.write(
        [(events(other, 1),), (opened(stale), events(other, 2)), (events(fresh, 1),), (events(stale, 9),)]
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), Fenced, type(None), Fenced]
    assert [x.seq for x in await store.repositories.sessions.events(other.id, 0, 10)] == [1]
    assert (await reload(store, fresh)).last_seq == 1
    assert await store.repositories.sessions.messages(stale.id) == ()


async def test_writing_to_a_session_that_does_not_exist_is_fenced(store: Store) -> None:
    session = await store.session()
    ghost = attrs.evolve(session, id="ses_ghost")
    with pytest.raises(Fenced):
        await store.write(events(ghost, 1))


async def test_a_taken_idempotency_key_fails_its_group_alone_and_leaves_nothing_of_it(store: Store) -> None:
    session, other = await store.session(), await store.session()
    first = opened(session, idempotency=key())
    await store.write(first)
    second = opened(other, idempotency=key())
    outcomes = await store.journal.write([(second, events(other, 1)), (events(session, 1),)])
    assert isinstance(outcomes[0], StoreConflict)
    assert outcomes[0].what == "idempotency_key"
    assert outcomes[1] is None
    assert await store.repositories.sessions.turn(second.turn_id) is None
    assert await store.repositories.sessions.messages(other.id) == ()
    assert (await reload(store, other)).last_seq == 0


async def test_of_two_turns_in_one_batch_with_the_same_key_one_begins(store: Store) -> None:
    session, other = await store.session(), await store.session()
    outcomes = await store.journal.write([(opened(session, idempotency=key()),), (opened(other, idempotency=key()),)])
    assert sorted(outcome is None for outcome in outcomes) == [False, True]


async def test_a_fenced_group_does_not_take_the_key_it_came_with(store: Store) -> None:
    stale = await store.session()
    await store.repositories.sessions.claim(stale.id, NODE)
    with pytest.raises(Fenced):
        await store.write(opened(stale, idempotency=key()))
    other = await store.session()
    await store.write(opened(other, idempotency=key()))


async def test_an_expired_key_is_free_again(store: Store) -> None:
    session = await store.session()
    await store.write(opened(session, idempotency=key()))
    day = 24 * 3600.0
    late = opened(session, started_at=at(day), idempotency=key(body=b"another"))
    await store.write(late)
    answer = await store.repositories.idempotency.find(key().scope, "k1", now=at(day))
    assert answer is not None
    assert answer.turn_id == late.turn_id


@pytest.mark.parametrize("status", [TurnStatus.FAILED, TurnStatus.CANCELLED, TurnStatus.INTERRUPTED])
async def test_a_turn_that_did_not_complete_gives_its_key_back(store: Store, status: TurnStatus) -> None:
    session = await store.session()
    begin = opened(session, idempotency=key())
    await store.write(begin)
    await store.write(closed(session, begin.turn_id, status, error_code="TIMEOUT", error_message="too long"))
    assert await store.repositories.idempotency.find(key().scope, "k1", now=START) is None
    await store.write(opened(session, idempotency=key()))
    turn = await store.repositories.sessions.turn(begin.turn_id)
    assert turn is not None
    assert (turn.error_code, turn.error_message, turn.idempotency) == ("TIMEOUT", "too long", None)


async def test_a_rolled_back_turn_disappears_from_the_history(store: Store) -> None:
    session = await store.session()
    kept = opened(session)
    await store.write(kept)
    await store.write(closed(session, kept.turn_id))
    begin = opened(session)
    await store.write(begin)
    await store.write(closed(session, begin.turn_id, TurnStatus.CANCELLED, rolled_back=True))
    assert [x.turn_id for x in await store.repositories.sessions.messages(session.id)] == [kept.turn_id] * 2
    assert (await reload(store, session)).message_count == 2
    following = opened(session)
    await store.write(following)
    assert [x.position for x in await store.repositories.sessions.messages(session.id)] == [1, 2, 5]


async def test_only_the_first_end_of_a_turn_counts(store: Store) -> None:
    session = await store.session()
    begin = opened(session)
    await store.write(begin)
    await store.write(closed(session, begin.turn_id, TurnStatus.CANCELLED, content="h"))
    await store.write(closed(session, begin.turn_id, TurnStatus.COMPLETED))
    turn = await store.repositories.sessions.turn(begin.turn_id)
    assert turn is not None
    assert (turn.status, turn.content) == (TurnStatus.CANCELLED, "h")
    after = await reload(store, session)
    assert (after.message_count, after.token_count) == (2, 15)


async def test_tool_calls_and_results_keep_their_order_within_a_batch(store: Store) -> None:
    session = await store.session()
    begin = opened(session)
    call = ToolCall("tc_1", "calculator", '{"expression": "6*7"}')
    asked = message(session, begin.turn_id, Role.ASSISTANT, "", tool_calls=(call,))
    answered = message(session, begin.turn_id, Role.TOOL, "42", tool_call_id="tc_1", tokens=3)
    more = MessagesAdded(session.epoch, session.id, (asked, answered))
    await store.journal.write([(begin,), (more,), (closed(session, begin.turn_id),)])
    said = await store.repositories.sessions.messages(session.id)
    assert [x.role for x in said] == [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]
    assert said[1].tool_calls == (call,)
    assert (said[2].tool_call_id, said[2].tokens) == ("tc_1", 3)


async def test_text_that_postgresql_cannot_hold_is_stored_with_replacement_characters(store: Store) -> None:
    session = await store.session()
    begin = opened(session)
    begin = attrs.evolve(begin, message=attrs.evolve(begin.message, content="a\x00b\ud800c"))
    await store.write(begin)
    (said,) = await store.repositories.sessions.messages(session.id)
    assert said.content.replace("\ufffd", "") == "abc"
    assert "\ufffd" in said.content


async def test_published_facts_wait_in_the_outbox_until_they_are_done(store: Store) -> None:
    session = await store.session()
    facts = [Published(new_id("out"), "turn.done", session.key.workspace_id, bytes([n]), at(n)) for n in range(3)]
    await store.write(*facts)
    outbox = store.repositories.outbox
    claimed = await outbox.claim(2, now=at(10), lease=at(30) - at(0))
    assert [(item.payload, item.attempts) for item in claimed] == [(b"\x00", 1), (b"\x01", 1)]
    assert [item.payload for item in await outbox.claim(5, now=at(11), lease=at(30) - at(0))] == [b"\x02"]
    assert await outbox.done([claimed[0].id, "out_unknown"], now=at(12)) == 1
    again = await outbox.claim(5, now=at(60), lease=at(30) - at(0))
    assert [(item.payload, item.attempts) for item in again] == [(b"\x01", 2), (b"\x02", 2)]
    assert await outbox.prune(at(12)) == 0
    assert await outbox.prune(at(13)) == 1


async def test_a_fact_that_is_refused_again_and_again_is_offered_ever_less_often(store: Store) -> None:
    session = await store.session()
    await store.write(Published(new_id("out"), "turn.done", session.key.workspace_id, b"", at(0)))

    async def claimed(seconds: float) -> bool:
        found = await store.repositories.outbox.claim(1, now=at(seconds), lease=at(30) - at(0))
        return bool(found)

    assert await claimed(0)
    assert await claimed(30)  # as soon as after a crash: it need not be the fact's fault
    assert not await claimed(60)
    assert await claimed(90)
    now = 90.0
    for _ in range(8):
        now += 30 * 120
        assert await claimed(now)  # an hour at the most
    assert not await claimed(now + 30 * 120 - 1)


async def test_an_empty_batch_and_empty_groups_are_fine(store: Store) -> None:
    session = await store.session()
    assert await store.journal.write([]) == ()
    assert await store.journal.write([(), (EventsAppended(session.epoch, session.id, ()),)]) == (None, None)


async def test_ids_are_random_and_prefixed() -> None:
    assert new_id("ses").startswith("ses_")
    assert len({new_id("ses") for _ in range(100)}) == 100
    assert len(hashlib.sha256(b"").digest()) == 32
