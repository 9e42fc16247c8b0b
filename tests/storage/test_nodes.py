"""Whose a session is, among nodes that come and go."""

from datetime import timedelta
from pathlib import Path

import attrs
import pytest
import trio

from tests.support.storage import NODE, START, Store, at, closed, opened
from understudy.storage.errors import Fenced
from understudy.storage.incarnation import Incarnation
from understudy.storage.pool import Pool
from understudy.storage.records import Approval, ApprovalStatus, SessionStatus
from understudy.storage.repositories import Repositories

LONG = timedelta(minutes=10)


async def test_a_session_in_which_a_living_node_runs_a_turn_is_left_to_it(store: Store) -> None:
    repositories = store.repositories
    await repositories.nodes.renew(NODE, LONG)
    session = await store.session()
    assert session.node == NODE
    turn = opened(session)
    await store.write(turn)
    left = await repositories.sessions.claim(session.id, "nod_2")
    assert left is not None
    assert (left.node, left.epoch) == (NODE, session.epoch)
    await store.write(closed(session, turn.turn_id))
    taken = await repositories.sessions.claim(session.id, "nod_2")
    assert taken is not None
    assert (taken.node, taken.epoch) == ("nod_2", session.epoch + 1)
    with pytest.raises(Fenced):
        await store.write(opened(session))


async def test_its_own_node_and_whoever_comes_after_its_lease_may_take_a_session_in_the_middle_of_a_turn(
    store: Store,
) -> None:
    repositories = store.repositories
    await repositories.nodes.renew(NODE, LONG)
    session = await store.session()
    await store.write(opened(session))
    again = await repositories.sessions.claim(session.id, NODE)
    assert again is not None
    assert again.epoch == session.epoch + 1
    await repositories.nodes.renew(NODE, timedelta(0))
    taken = await repositories.sessions.claim(session.id, "nod_2")
    assert taken is not None
    assert taken.node == "nod_2"
    with pytest.raises(Fenced):
        await store.write(closed(again, "trn_late"))


async def test_turns_are_abandoned_when_their_node_has_left_and_not_before(store: Store) -> None:
    repositories = store.repositories
    await repositories.nodes.renew(NODE, LONG)
    await repositories.nodes.renew("nod_2", LONG)
    session = await store.session()
    turn = opened(session)
    await store.write(turn)
    sessions = repositories.sessions
    assert await sessions.abandoned_sessions() == ()
    assert await sessions.abandoned_sessions("nod_2") == ()
    assert await sessions.abandoned_sessions(NODE) == (session.id,)
    await repositories.nodes.leave(NODE)
    assert await sessions.abandoned_sessions("nod_2") == (session.id,)
    await store.write(closed(session, turn.turn_id))
    assert await sessions.abandoned_sessions(NODE) == ()


async def test_a_session_that_changed_hands_cannot_be_archived_by_who_had_it(store: Store) -> None:
    session = await store.session()
    sessions = store.repositories.sessions
    taken = await sessions.claim(session.id, "nod_2")
    assert taken is not None
    with pytest.raises(Fenced):
        await sessions.reset(session.id, at(9), epoch=session.epoch)
    found = await sessions.load(session.id)
    assert found is not None
    assert found.status is SessionStatus.ACTIVE
    await sessions.reset(session.id, at(9), epoch=taken.epoch)


async def test_the_node_that_loses_a_session_is_told(store: Store) -> None:
    repositories = store.repositories
    await repositories.nodes.renew(NODE, LONG)
    session = await store.session()
    with trio.fail_after(20):
        async with repositories.nodes.listening() as called:
            await repositories.sessions.claim(session.id, NODE)
            await repositories.sessions.claim(session.id, "nod_2")  # which has no lease: perhaps it was only paused
            await repositories.sessions.claim(session.id, NODE)
            await repositories.nodes.call("something else")
            told: list[str] = []
            while len(told) < 3:
                told += await called(20)
            for place, node in enumerate((NODE, "nod_2")):
                for said in (session.id, node, str(session.epoch + 2 + place)):
                    assert said in told[place]
            assert told[2] == "something else"


async def test_requests_for_consent_are_withdrawn_with_their_turn_and_seen_when_decided_elsewhere(store: Store) -> None:
    repositories = store.repositories
    session = await store.session()
    gone, turn = opened(session), opened(session)
    await store.write(gone)
    await store.write(closed(session, gone.turn_id))
    await store.write(turn)
    key = session.key
    asked = Approval(
        "apr_1",
        key.workspace_id,
        key.uid,
        key.agent_id,
        session.id,
        turn.turn_id,
        "call_1",
        "shell_exec",
        "{}",
        START,
        at(300),
    )
    left = attrs.evolve(asked, id="apr_2", turn_id=gone.turn_id)
    for each in (asked, left):
        await repositories.approvals.request(each)
    assert await repositories.approvals.decided(("apr_1", "apr_2")) == ()
    assert await repositories.approvals.withdraw_abandoned(at(1)) == 1
    (found,) = await repositories.approvals.decided(("apr_1", "apr_2"))
    assert (found.id, found.status) == ("apr_2", ApprovalStatus.CANCELLED)
    await store.write(closed(session, turn.turn_id))
    assert await repositories.approvals.withdraw_abandoned(at(3)) == 1
    assert len(await repositories.approvals.decided(("apr_1", "apr_2"))) == 2


async def test_a_node_that_could_not_renew_while_the_database_was_down_is_not_taken_for_dead(pool: Pool) -> None:
    nodes = Repositories.on(pool).nodes
    await nodes.renew("nod_1", timedelta(days=365))
    async with pool.connection() as connection:
        # As it is when the database comes back after longer than a lease.
        await connection.execute("UPDATE nodes SET leased_until = clock_timestamp() - interval '1 hour'")
        row = await (await connection.execute("SELECT node_lives('nod_1'), node_lives('nod_2')")).fetchone()
    assert row == (True, False)


async def test_a_node_that_was_away_for_days_is_there_again_and_others_are_forgotten(pool: Pool) -> None:
    nodes = Repositories.on(pool).nodes
    for node in ("nod_1", "nod_2"):
        await nodes.renew(node, LONG)
    async with pool.connection() as connection:
        await connection.execute("UPDATE nodes SET leased_until = clock_timestamp() - interval '3 days'")
        await nodes.renew("nod_1", LONG)
        found = await connection.execute("SELECT id, leased_until > clock_timestamp() FROM nodes")
        assert await found.fetchall() == [("nod_1", True)]


def test_the_next_run_in_a_data_directory_knows_the_one_before_once_that_is_over(tmp_path: Path) -> None:
    first = Incarnation(tmp_path / "data")
    assert first.predecessor is None
    beside = Incarnation(tmp_path / "data")
    assert (beside.predecessor, beside.id == first.id) == (None, False)
    first.settle()
    beside.settle()  # which has no right to
    first.close()
    unsettled = Incarnation(tmp_path / "data")
    assert unsettled.predecessor == first.id
    unsettled.close()  # it died before it had said so to the database
    assert Incarnation(tmp_path / "data").predecessor == first.id


def test_a_data_directory_that_cannot_be_used_is_no_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = Incarnation(tmp_path / "file")
    run.settle()
    assert run.predecessor is None
