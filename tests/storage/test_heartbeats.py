"""What is promised of heartbeats and their runs, whoever keeps the rows."""

from datetime import timedelta

import attrs
import pytest
import trio

from tests.support.storage import NODE, START, Store, at, closed, key, opened
from understudy.storage.entries import Published
from understudy.storage.errors import StoreConflict
from understudy.storage.heartbeat_records import (
    MOST_SEEN,
    RUNS_KEPT,
    Claim,
    Heartbeat,
    HeartbeatRun,
    RunEnd,
    RunStatus,
)
from understudy.storage.records import AuditEntry, SessionKey, TurnStatus, new_id

LEASE = timedelta(seconds=30)


def line() -> AuditEntry:
    return AuditEntry(new_id("aud"), "heartbeat.changed", "info", START)


async def made(store: Store, email: str = "mira@example.org", due: float = 0.0) -> Heartbeat:
    user, workspace = await store.user(email)
    beat = Heartbeat(new_id("hbt"), workspace.id, user.id, {"name": "n"}, 300, True, at(due), START, START)
    await store.repositories.heartbeats.create(beat, line(), most=100)
    return beat


def claim_of(beat: Heartbeat, due: float = 0.0, *, owner: str = "one", now: float | None = None) -> Claim:
    moment = at(due if now is None else now)
    return Claim(new_id("hbr"), beat.id, at(due), at(due + 300), owner, moment, moment + LEASE)


async def claimed(store: Store, beat: Heartbeat, due: float = 0.0) -> HeartbeatRun:
    run = await store.repositories.heartbeat_runs.claim(claim_of(beat, due))
    assert run is not None
    return run


async def all_runs(store: Store, beat: Heartbeat) -> tuple[HeartbeatRun, ...]:
    page = await store.repositories.heartbeats.runs(beat.workspace_id, beat.id, limit=1000, offset=0)
    assert page is not None
    return page[0]


async def test_a_heartbeat_is_listed_as_it_was_made_with_its_newest_ended_run(store: Store) -> None:
    beat = await made(store)
    heartbeats, runs = store.repositories.heartbeats, store.repositories.heartbeat_runs
    assert await heartbeats.list(beat.workspace_id) == ((beat, None),)
    run = await claimed(store, beat)
    ((listed, last),) = await heartbeats.list(beat.workspace_id)
    assert (listed.next_run_at, last) == (at(300), None)
    assert await runs.finish(run, RunEnd(RunStatus.OK, at(2), item_count=0, state={"a": [1]}))
    ((listed, last),) = await heartbeats.list(beat.workspace_id)
    assert listed.state == {"a": [1]}
    assert last is not None
    assert (last.status, last.finished_at, last.due_at) == (RunStatus.OK, at(2), START)


async def test_another_workspaces_heartbeat_cannot_be_seen_changed_or_deleted(store: Store) -> None:
    mine, theirs = await made(store), await made(store, "noor@example.org")
    heartbeats = store.repositories.heartbeats
    assert [beat.id for beat, _ in await heartbeats.list(theirs.workspace_id)] == [theirs.id]
    assert await heartbeats.change(theirs.workspace_id, mine.id, lambda beat: beat, line()) is None
    assert await heartbeats.runs(theirs.workspace_id, mine.id, limit=9, offset=0) is None
    assert not await heartbeats.delete(theirs.workspace_id, mine.id, lambda _: None, line())
    assert [beat.id for beat, _ in await heartbeats.list(mine.workspace_id)] == [mine.id]


async def test_a_workspace_has_room_for_so_many(store: Store) -> None:
    beat = await made(store)
    with pytest.raises(StoreConflict) as refused:
        await store.repositories.heartbeats.create(attrs.evolve(beat, id="hbt_2"), line(), most=1)
    assert refused.value.what == "number of heartbeats"
    await store.repositories.heartbeats.create(beat, line(), most=1)  # the same one again is a lost answer


async def test_a_deleted_heartbeat_takes_its_runs_along_and_is_due_no_more(store: Store) -> None:
    beat = await made(store)
    run = await claimed(store, beat)
    assert await store.repositories.heartbeats.delete(beat.workspace_id, beat.id, lambda _: None, line())
    assert await store.repositories.heartbeats.runs(beat.workspace_id, beat.id, limit=9, offset=0) is None
    assert await store.repositories.heartbeat_runs.load(beat.id) is None
    assert await store.repositories.heartbeat_runs.due(at(900), now=at(900), limit=10) == ()
    assert not await store.repositories.heartbeat_runs.finish(run, RunEnd(RunStatus.OK, at(2)))


async def test_of_many_that_claim_one_due_time_one_gets_it(store: Store) -> None:
    beat = await made(store)
    got: list[HeartbeatRun] = []

    async def claim(owner: str) -> None:
        run = await store.repositories.heartbeat_runs.claim(claim_of(beat, owner=owner))
        if run is not None:
            got.append(run)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(claim, f"node {number}")
    assert len(got) == len(await all_runs(store, beat)) == 1
    loaded = await store.repositories.heartbeat_runs.load(beat.id)
    assert loaded is not None
    assert loaded[0].next_run_at == at(300)
    assert loaded[1] == got[0]


async def test_a_claim_whose_answer_was_lost_is_answered_again_with_its_run(store: Store) -> None:
    beat = await made(store)
    claim = claim_of(beat)
    first = await store.repositories.heartbeat_runs.claim(claim)
    assert first is not None
    assert await store.repositories.heartbeat_runs.claim(claim) == first


async def test_what_is_not_due_or_is_switched_off_or_was_run_before_cannot_be_claimed(store: Store) -> None:
    beat = await made(store)
    runs = store.repositories.heartbeat_runs
    assert await runs.claim(claim_of(beat, now=-1)) is None
    assert await runs.claim(claim_of(beat, 300, now=900)) is None
    await store.repositories.heartbeats.change(
        beat.workspace_id, beat.id, lambda it: attrs.evolve(it, enabled=False), line()
    )
    assert await runs.claim(claim_of(beat)) is None
    assert await runs.due(at(900), now=at(900), limit=10) == ()
    back = attrs.evolve(beat, enabled=True, next_run_at=START)
    await store.repositories.heartbeats.change(beat.workspace_id, beat.id, lambda _: back, line())
    await claimed(store, beat)
    await store.repositories.heartbeats.change(beat.workspace_id, beat.id, lambda _: back, line())
    assert await runs.claim(claim_of(beat, now=900)) is None
    assert len(await all_runs(store, beat)) == 1


async def test_a_due_time_that_comes_while_a_run_goes_on_is_skipped(store: Store) -> None:
    beat = await made(store)
    first = await claimed(store, beat)
    second = await claimed(store, beat, 300)
    assert (second.status, second.finished_at) == (RunStatus.SKIPPED, at(300))
    assert await store.repositories.heartbeat_runs.finish(first, RunEnd(RunStatus.OK, at(301)))
    assert (await claimed(store, beat, 600)).status is RunStatus.RUNNING
    assert [run.status.value for run in await all_runs(store, beat)] == ["running", "skipped", "ok"]


async def test_an_abandoned_run_is_found_and_taken_over_once_and_its_first_owner_changes_nothing(store: Store) -> None:
    beat = await made(store)
    runs = store.repositories.heartbeat_runs
    run = await claimed(store, beat)
    assert await runs.due(at(29), now=at(29), limit=10) == ()
    assert await runs.take_over(run, owner="two", now=at(29), lease_until=at(60)) is None
    assert await runs.due(at(30), now=at(30), limit=10) == (beat.id,)
    taken = await runs.take_over(run, owner="two", now=at(30), lease_until=at(60))
    assert taken is not None
    assert (taken.attempt, taken.owner, taken.due_at) == (2, "two", run.due_at)
    assert await runs.take_over(run, owner="three", now=at(90), lease_until=at(120)) is None
    assert not await runs.renew({run.id: run.attempt}, at(90))
    assert not await runs.prepare(run, {"message": "late"})
    assert not await runs.note_session(run, "ses_late")
    assert not await runs.finish(run, RunEnd(RunStatus.TRIGGERED, at(31)))
    assert await runs.finish(taken, RunEnd(RunStatus.OK, at(32)))


async def test_an_owner_takes_its_own_run_over_without_waiting(store: Store) -> None:
    beat = await made(store)
    runs = store.repositories.heartbeat_runs
    run = await claimed(store, beat)
    assert await runs.renew({run.id: run.attempt}, at(500))
    assert await runs.prepare(run, {"message": "hear"})
    assert await runs.note_session(run, "ses_1")
    again = await runs.take_over(run, owner="one", now=at(1), lease_until=at(40))
    assert again is not None
    assert (again.attempt, again.wake, again.session_id) == (2, {"message": "hear"}, "ses_1")


async def test_an_end_is_written_once_with_its_facts_and_a_repeated_one_is_the_same(store: Store) -> None:
    beat = await made(store)
    runs = store.repositories.heartbeat_runs
    run = await claimed(store, beat)
    told = Published("evt_1", "heartbeat.fired", beat.workspace_id, b"{}", at(3))
    end = RunEnd(RunStatus.ERROR, at(3), error="HTTP 500", errors=20, postponed=at(900), disabled="20 in a row")
    assert await runs.finish(run, end, facts=(told,), audit=line())
    assert await runs.finish(run, end, facts=(told,))
    assert [item.id for item in await store.repositories.outbox.claim(9, now=at(4), lease=LEASE)] == ["evt_1"]
    loaded = await runs.load(beat.id)
    assert loaded is not None
    left = loaded[0]
    assert (left.errors, left.next_run_at, left.enabled, left.disabled_reason) == (20, at(900), False, "20 in a row")
    (ended,) = await all_runs(store, beat)
    assert (ended.status, ended.error, ended.finished_at) == (RunStatus.ERROR, "HTTP 500", at(3))


async def test_the_next_due_time_is_put_off_and_never_brought_forward(store: Store) -> None:
    beat = await made(store)
    await store.repositories.heartbeat_runs.finish(
        await claimed(store, beat), RunEnd(RunStatus.ERROR, at(3), postponed=at(10))
    )
    loaded = await store.repositories.heartbeat_runs.load(beat.id)
    assert loaded is not None
    assert loaded[0].next_run_at == at(300)


async def test_the_newest_keys_of_each_feed_are_kept_and_those_listed_now_are_among_them(store: Store) -> None:
    beat = await made(store)
    runs = store.repositories.heartbeat_runs
    share = MOST_SEEN // 2
    old = tuple(b"old %d" % number for number in range(share))
    new = tuple(b"new %d" % number for number in range(share - 1))
    other = (b"x", b"y")
    run = await claimed(store, beat)
    watched = ("a", "b")
    await runs.finish(run, RunEnd(RunStatus.OK, at(1), seen={"a": old, "b": other}, watched=watched))
    assert await runs.seen(beat.id) == {"a": frozenset(old), "b": frozenset(other)}
    run = await claimed(store, beat, 300)
    await runs.finish(run, RunEnd(RunStatus.OK, at(301), seen={"a": new}, watched=watched))
    seen = await runs.seen(beat.id)
    assert frozenset(new) < seen["a"]
    assert len(seen["a"]) == share
    assert seen["b"] == frozenset(other)
    run = await claimed(store, beat, 600)
    await runs.finish(run, RunEnd(RunStatus.OK, at(601), seen={"b": other}, watched=("b",)))
    assert await runs.seen(beat.id) == {"b": frozenset(other)}


async def test_only_the_newest_runs_are_kept_and_none_for_longer_than_a_month(store: Store) -> None:
    beat = await made(store)
    runs = store.repositories.heartbeat_runs
    for number in range(3):
        await runs.finish(await claimed(store, beat, number * 300), RunEnd(RunStatus.OK, at(number * 300 + 1)))
    assert len(await all_runs(store, beat)) == 3
    late = 31 * 86400.0
    jump = attrs.evolve(claim_of(beat, 900), following=at(late))
    run = await runs.claim(jump)
    assert run is not None
    await runs.finish(run, RunEnd(RunStatus.OK, at(901)))
    await runs.finish(await claimed(store, beat, late), RunEnd(RunStatus.OK, at(late + 1)))
    assert [run.due_at for run in await all_runs(store, beat)] == [at(late)]
    assert RUNS_KEPT > 4


async def test_the_turn_that_a_run_began_is_found_however_it_ended(store: Store) -> None:
    beat = await made(store)
    runs = store.repositories.heartbeat_runs
    conversation = SessionKey(beat.workspace_id, beat.uid, "chad", "prop", f"heartbeat:{beat.id}")
    session, _ = await store.repositories.sessions.open(conversation, START)
    session = await store.repositories.sessions.claim(session.id, NODE) or session
    scope, run_id = "heartbeat", "hbr_1"
    assert await runs.woken(beat, scope, run_id) is None
    await store.write(opened(session, "trn_1", idempotency=key(run_id, scope=scope)))
    woken = await runs.woken(beat, scope, run_id)
    assert woken is not None
    assert (woken.session_id, woken.turn_id, woken.status) == (session.id, "trn_1", TurnStatus.RUNNING)
    await store.write(closed(session, "trn_1", TurnStatus.INTERRUPTED))
    woken = await runs.woken(beat, scope, run_id)
    assert woken is not None
    assert woken.status is TurnStatus.INTERRUPTED
    assert await runs.woken(attrs.evolve(beat, id="hbt_other"), scope, run_id) is None
