"""Allowances: reserved with a turn's beginning, settled with its end, whoever keeps the rows."""

from datetime import timedelta

import pytest

from tests.support.storage import START, Store, closed, key, opened
from understudy.storage.errors import QuotaExceeded
from understudy.storage.records import TurnStatus, Usage
from understudy.storage.spending import Charge, Reservation

TOKENS = Reservation("a:tokens", START, 10, 100)
MONEY = Reservation("a:money", START, 5, 12, money=True)
SPENT = Charge("claude", "x", Usage(3, 1), START, 2)


async def test_a_turn_reserves_what_it_may_need_and_pays_what_it_used(store: Store) -> None:
    session = await store.session()
    begin = opened(session, quotas=(TOKENS, MONEY))
    for _ in range(2):  # however often it is written
        await store.write(begin)
    costs = store.repositories.costs
    assert await costs.counter("a:tokens", START) == (0, 10)
    assert await costs.counter("a:money", START) == (0, 5)
    end = closed(session, begin.turn_id, charges=(SPENT, SPENT))
    for _ in range(2):
        await store.write(end)
    await store.write(begin)
    assert await costs.counter("a:tokens", START) == (8, 0)
    assert await costs.counter("a:money", START) == (4, 0)
    assert await costs.prune_counters(START) == 0
    assert await costs.prune_counters(START + timedelta(seconds=1)) == 2


async def test_what_does_not_suffice_refuses_the_whole_turn_and_nothing_of_it_stays(store: Store) -> None:
    sessions = [await store.session() for _ in range(3)]
    for session in sessions[:2]:
        await store.write(opened(session, quotas=(TOKENS, MONEY)))
    late = opened(sessions[2], quotas=(TOKENS, MONEY), idempotency=key())
    with pytest.raises(QuotaExceeded) as refused:
        await store.write(late)
    assert refused.value.which == 1
    assert await store.repositories.costs.counter("a:tokens", START) == (0, 20)
    assert await store.repositories.sessions.turn(late.turn_id) is None
    assert await store.repositories.sessions.messages(sessions[2].id) == ()
    await store.write(opened(sessions[2], idempotency=key()))  # the key is free


async def test_of_a_hundred_turns_in_one_commit_exactly_those_run_that_fit(store: Store) -> None:
    sessions = [await store.session() for _ in range(20)]
    groups = [(opened(session, quotas=(TOKENS,)),) for session in sessions for _ in range(5)]
    outcomes = await store.journal.write(groups)
    assert [outcome is None for outcome in outcomes] == [True] * 10 + [False] * 90
    assert all(isinstance(outcome, QuotaExceeded) for outcome in outcomes[10:])
    assert await store.repositories.costs.counter("a:tokens", START) == (0, 100)


@pytest.mark.parametrize("status", [TurnStatus.INTERRUPTED, TurnStatus.FAILED, TurnStatus.CANCELLED])
async def test_a_turn_that_ended_otherwise_gives_back_what_it_did_not_use(store: Store, status: TurnStatus) -> None:
    session = await store.session()
    begin = opened(session, quotas=(TOKENS,))
    await store.write(begin)
    await store.write(closed(session, begin.turn_id, status, message=None))
    assert await store.repositories.costs.counter("a:tokens", START) == (0, 0)


async def test_an_end_that_is_written_twice_in_one_commit_is_paid_once(store: Store) -> None:
    session = await store.session()
    begin = opened(session, quotas=(TOKENS, MONEY))
    await store.write(begin)
    end = closed(session, begin.turn_id, charges=(SPENT,))
    assert await store.journal.write([(end,), (end,)]) == (None, None)
    assert await store.repositories.costs.counter("a:tokens", START) == (4, 0)
    assert await store.repositories.costs.counter("a:money", START) == (2, 0)


async def test_each_stretch_of_time_has_an_allowance_of_its_own(store: Store) -> None:
    session = await store.session()
    later = START + timedelta(hours=1)
    await store.write(opened(session, quotas=(Reservation("a", START, 100, 100),)))
    await store.write(opened(session, quotas=(Reservation("a", later, 100, 100),)))
    assert await store.repositories.costs.counter("a", later) == (0, 100)


async def test_work_beside_turns_reserves_in_the_same_counters_and_pays_what_it_used(store: Store) -> None:
    session = await store.session()
    await store.write(opened(session, quotas=(TOKENS,)))
    allowances, costs = store.repositories.allowances, store.repositories.costs
    later = START + timedelta(minutes=10)
    for _ in range(2):  # a second attempt gives back what the first had reserved
        await allowances.reserve("learn/trn_1", (TOKENS, MONEY), now=START, lapses_at=later)
    assert await costs.counter("a:tokens", START) == (0, 20)
    assert await costs.counter("a:money", START) == (0, 5)
    for _ in range(2):
        await allowances.settle("learn/trn_1", (SPENT, SPENT))
    assert await costs.counter("a:tokens", START) == (8, 10)
    assert await costs.counter("a:money", START) == (4, 0)


async def test_work_that_does_not_fit_reserves_nothing_and_says_what_is_lacking(store: Store) -> None:
    allowances, costs = store.repositories.allowances, store.repositories.costs
    for n in range(2):
        await allowances.reserve(f"learn/{n}", (TOKENS, MONEY), now=START, lapses_at=START + timedelta(minutes=10))
    with pytest.raises(QuotaExceeded) as refused:
        await allowances.reserve("learn/2", (TOKENS, MONEY), now=START, lapses_at=START + timedelta(minutes=10))
    assert refused.value.which == 1
    assert await costs.counter("a:tokens", START) == (0, 20)
    session = await store.session()
    with pytest.raises(QuotaExceeded):
        await store.write(opened(session, quotas=(MONEY,)))


async def test_what_nobody_settles_lapses_and_is_given_back_to_whoever_wants_it(store: Store) -> None:
    allowances, costs = store.repositories.allowances, store.repositories.costs
    later = START + timedelta(minutes=10)
    await allowances.reserve("learn/1", (MONEY,), now=START, lapses_at=later)
    await allowances.reserve("learn/2", (MONEY,), now=START, lapses_at=later + timedelta(minutes=10))
    await allowances.reserve("learn/3", (MONEY,), now=later, lapses_at=later + timedelta(minutes=10))
    assert await costs.counter("a:money", START) == (0, 10)
    await allowances.settle("learn/1", (SPENT,))
    assert await costs.counter("a:money", START) == (0, 10), "what has lapsed is not paid"


async def test_what_lapsed_in_an_allowance_that_nobody_wants_any_more_is_forgotten_with_it(store: Store) -> None:
    allowances, costs = store.repositories.allowances, store.repositories.costs
    later = START + timedelta(minutes=10)
    await allowances.reserve("learn/1", (MONEY,), now=START, lapses_at=later)
    await store.write(opened(await store.session(), quotas=(TOKENS,)))
    assert await costs.prune_counters(later) == 0
    assert await costs.prune_counters(later + timedelta(seconds=1)) == 1, "the turn's is still its own"
    assert await costs.counter("a:money", START) == (0, 0)
    await allowances.settle("learn/1", (SPENT,))
    assert await costs.counter("a:money", START) == (0, 0)
