"""What only a real server can do to a journal: refuse values, and go away in the middle of a commit."""

import random

import pytest
import trio

from tests.support.storage import NODE, Store, closed, events, opened
from understudy.storage.connection import Connection
from understudy.storage.entries import Entry, EventsAppended
from understudy.storage.errors import Fenced, StorageError, StoreUnavailable, Unstorable
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.records import RunEvent, TurnStatus, Usage
from understudy.storage.repositories import Repositories


@pytest.fixture
async def store(pool: Pool) -> Store:
    return Store(Repositories.on(pool), Journal(pool))


async def test_a_value_that_the_schema_refuses_fails_its_group_alone(store: Store) -> None:
    session = await store.session()
    good, bad = opened(session), opened(session)
    await store.journal.write([(good,), (bad,)])
    too_many = closed(session, bad.turn_id, usage=Usage(2**40, 0))
    stale = events(session, 7)
    stale = EventsAppended(session.epoch - 1, session.id, stale.events)
    outcomes = await store.journal.write(
        [(events(session, 1),), (too_many,), (events(session, 2),), (stale,), (closed(session, good.turn_id),)]
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), Unstorable, type(None), Fenced, type(None)]
    assert [event.seq for event in await store.repositories.sessions.events(session.id, 0, 9)] == [1, 2]
    turn = await store.repositories.sessions.turn(bad.turn_id)
    assert turn is not None
    assert turn.status is TurnStatus.RUNNING


async def test_data_that_is_no_json_fails_its_group_alone(store: Store) -> None:
    session = await store.session()
    event = RunEvent(session.id, 2, None, "odd", {"value": object()}, events(session, 2).events[0].created_at)
    outcomes = await store.journal.write(
        [
            (events(session, 1),),
            (EventsAppended(session.epoch, session.id, (event,)),),
            (opened(session), opened(session)),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), Unstorable, Unstorable]
    assert [event.seq for event in await store.repositories.sessions.events(session.id, 0, 9)] == [1]


async def test_writes_whose_connection_is_cut_are_written_once(store: Store, pg_dsn: str) -> None:
    session = await store.session()
    rng = random.Random(3)
    written: list[str] = []
    stopped = False

    async def cut() -> None:
        async with await Connection.connect(pg_dsn, autocommit=True) as admin:
            while not stopped:
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                await trio.sleep(rng.uniform(0.01, 0.08))

    async def insist(*entries: Entry) -> None:
        """Write as its callers do, who try again when the database was away for longer than the journal waits."""
        while True:
            try:
                return await store.write(*entries)
            except StoreUnavailable:
                await trio.lowlevel.checkpoint()

    async def write(number: int) -> None:
        begin = opened(session)
        await insist(begin, events(session, number))
        await insist(closed(session, begin.turn_id))
        written.append(begin.turn_id)

    with trio.fail_after(110):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut)
            async with trio.open_nursery() as writers:
                for number in range(1, 61):
                    writers.start_soon(write, number)
            stopped = True
    after = await store.repositories.sessions.load(session.id)
    assert after is not None
    assert (after.message_count, after.token_count, after.last_seq) == (120, 60 * 15, 60)
    said = await store.repositories.sessions.messages(session.id, limit=1000)
    assert sorted(message.position for message in said) == list(range(1, 121))
    assert len(await store.repositories.sessions.events(session.id, 0, 1000)) == 60


async def test_a_journal_without_a_server_says_so_within_its_bound() -> None:
    pool = Pool("host=127.0.0.1 port=1", min_size=0)
    await pool.open()
    with trio.fail_after(30), pytest.raises(StoreUnavailable):
        await Journal(pool).write([()], timeout=0.3)
    await pool.close()


async def test_two_journals_on_the_same_sessions_do_not_deadlock(store: Store, pool: Pool) -> None:
    first, second = await store.session(), await store.session()
    other = Journal(pool)

    async def write(journal: Journal, start: int) -> None:
        for number in range(start, start + 20):
            groups = [(events(first, number),), (events(second, number),)]
            if start > 100:
                groups.reverse()
            assert await journal.write(groups) == (None, None)

    with trio.fail_after(110):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, store.journal, 1)
            nursery.start_soon(write, other, 101)


async def test_the_epoch_guards_a_session_that_is_claimed_while_it_is_written(store: Store) -> None:
    session = await store.session()
    outcomes: list[StorageError | None] = []

    async def write() -> None:
        for number in range(1, 200):
            outcomes.extend(await store.journal.write([(events(session, number),)]))

    with trio.fail_after(110):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.sleep(0.05)
            claimed = await store.repositories.sessions.claim(session.id, NODE)
            assert claimed is not None
            seen = claimed.last_seq
    fenced = [isinstance(outcome, Fenced) for outcome in outcomes]
    assert fenced == sorted(fenced), "once fenced, for ever fenced"
    after = await store.repositories.sessions.load(session.id)
    assert after is not None
    assert after.last_seq == seen == fenced.count(False)
