"""Bills and traces: what the end of a turn leaves behind, whoever keeps the rows."""

from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.storage import START, Store, at, closed, opened
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.records import Session, TurnStatus, Usage, new_id
from understudy.storage.repositories import Repositories
from understudy.storage.spending import AgentUse, Charge, Span, Spent, TraceFilter, TurnTrace

DEAR = Charge("claude", "opus", Usage(100, 20), at(1), 7, saved=3, cached_tokens=50, tools=("web", "web", "clock"))
CHEAP = Charge("groq", "llama", Usage(10, 2), at(1.5), 1)
UNKNOWN = Charge("custom", "x", Usage(8, 2), at(1.7), None, estimated=True)
SPANS = (Span("context", 0.5, 1.25, {"messages": 3}), Span("inference", 2, 900, {"model": "opus\x00", "ok": True}))
CLEAN = (SPANS[0], Span("inference", 2, 900, {"model": "opus\ufffd", "ok": True}))
YEAR = timedelta(days=365)


async def run(store: Store, session: Session, *charges: Charge, trace: TurnTrace | None = None, **more: Any) -> str:
    """A turn from its beginning to its end; its id."""
    begin = opened(session)
    await store.write(begin)
    await store.write(closed(session, begin.turn_id, charges=charges, trace=trace, **more))
    return begin.turn_id


async def test_what_a_turn_cost_is_added_up_in_every_way(store: Store) -> None:
    session = await store.session()
    await run(store, session, DEAR, CHEAP, UNKNOWN)
    key = session.key
    spent = await store.repositories.costs.spent(key.workspace_id, START - YEAR, START + YEAR)
    assert spent == Spent(
        total=8,
        saved=3,
        by_agent={"chad": 8},
        by_provider={"claude": 7, "groq": 1, "custom": 0},
        by_model={"claude/opus": 7, "groq/llama": 1},
        by_user={key.uid: 8},
        by_tool={"web": 5, "clock": 2},
        by_month={date(2026, 11, 1): 8},
        unpriced={"custom/x": 10},
    )


async def test_only_the_workspace_and_the_time_asked_for_count(store: Store) -> None:
    mine, other = await store.session(), await store.session()
    await run(store, mine, DEAR, CHEAP)
    await run(store, other, DEAR)
    costs = store.repositories.costs
    assert (await costs.spent(mine.key.workspace_id, at(1), at(1.5))).total == 7
    assert (await costs.spent(mine.key.workspace_id, at(1.5), at(2))).total == 1
    assert await costs.spent(mine.key.workspace_id, at(3), at(4)) == Spent()
    assert (await costs.spent(other.key.workspace_id, START - YEAR, START + YEAR)).total == 7


async def test_what_an_agent_used_is_told_since_each_time_that_is_asked_for(store: Store) -> None:
    session, other = await store.session(), await store.session()
    await run(store, session, DEAR, CHEAP, UNKNOWN)
    await run(store, other, DEAR)
    workspace, costs = session.key.workspace_id, store.repositories.costs
    assert await costs.used_by_agent(workspace, "chad", (at(1.7), START, at(9), at(1.5))) == (
        AgentUse(1, Usage(8, 2), 0, unpriced=10),
        AgentUse(3, Usage(118, 24), 8, unpriced=10),
        AgentUse(),
        AgentUse(2, Usage(18, 4), 1, unpriced=10),
    )
    assert await costs.used_by_agent(workspace, "another", (START,)) == (AgentUse(),)
    assert await costs.used_by_agent("ws_other", "chad", (START,)) == (AgentUse(),)


@pytest.mark.parametrize("status", [TurnStatus.COMPLETED, TurnStatus.CANCELLED, TurnStatus.FAILED])
async def test_a_turn_is_billed_once_however_it_ended_and_however_often_that_was_written(
    store: Store, status: TurnStatus
) -> None:
    session = await store.session()
    begin = opened(session)
    trace = TurnTrace(new_id("trc"), SPANS)
    end = closed(session, begin.turn_id, status, charges=(DEAR,), trace=trace, rolled_back=True)
    await store.write(begin)
    assert await store.journal.write([(end,), (end,)]) == (None, None)
    await store.write(end)
    await store.write(closed(session, begin.turn_id, charges=(CHEAP,), trace=TurnTrace(new_id("trc"))))
    workspace = session.key.workspace_id
    assert (await store.repositories.costs.spent(workspace, START - YEAR, START + YEAR)).total == 7
    traces, total = await store.repositories.traces.list(TraceFilter(workspace))
    assert ([x.id for x in traces], total, traces[0].status) == ([trace.id], 1, status)


async def test_a_trace_is_read_back_as_it_was_written(store: Store) -> None:
    session = await store.session()
    noted = TurnTrace(new_id("trc"), SPANS, "req-1", "ab" * 16, "cd" * 8, rounds=2, tool_calls=3)
    turn_id = await run(store, session, DEAR, UNKNOWN, trace=noted, error_code="TIMEOUT")
    trace = await store.repositories.traces.get(session.key.workspace_id, noted.id)
    assert trace is not None
    assert (trace.turn_id, trace.session_id, trace.agent_id) == (turn_id, session.id, "chad")
    assert (trace.started_at, trace.finished_at) == (START, at(2))
    assert (trace.usage, trace.cost, trace.unpriced) == (Usage(108, 22), 7, True)
    assert (trace.request_id, trace.trace_id, trace.parent_id) == ("req-1", "ab" * 16, "cd" * 8)
    assert (trace.rounds, trace.tool_calls, trace.error_code) == (2, 3, "TIMEOUT")
    assert trace.spans in (SPANS, CLEAN)  # memory holds a NUL, PostgreSQL does not


async def test_a_trace_is_shown_to_its_workspace_and_if_asked_to_its_user_only(store: Store) -> None:
    session = await store.session()
    noted = TurnTrace(new_id("trc"))
    await run(store, session, trace=noted)
    key, traces = session.key, store.repositories.traces
    assert await traces.get(key.workspace_id, noted.id, uid=key.uid) is not None
    assert await traces.get(key.workspace_id, noted.id, uid="usr_other") is None
    assert await traces.get("ws_other", noted.id) is None
    assert await traces.get(key.workspace_id, "trc_other") is None


async def test_a_trace_is_found_by_its_turn_in_its_own_workspace(store: Store) -> None:
    session = await store.session()
    noted = TurnTrace(new_id("trc"), SPANS[:1])
    turn_id = await run(store, session, trace=noted)
    workspace, traces = session.key.workspace_id, store.repositories.traces
    found = await traces.of_turn(workspace, turn_id, at(0.5))
    assert found is not None
    assert (found.id, found.spans) == (noted.id, SPANS[:1])
    assert await traces.of_turn(workspace, turn_id, at(60)) is None
    assert await traces.of_turn(workspace, "trn_other", START) is None
    assert await traces.of_turn("ws_other", turn_id, START) is None


async def test_traces_come_newest_first_in_pages_and_as_they_were_asked_for(store: Store) -> None:
    session = await store.session()
    ids = []
    for number in range(4):
        begin = opened(session, started_at=at(number))
        trace = TurnTrace(new_id("trc"))
        status = TurnStatus.FAILED if number == 2 else TurnStatus.COMPLETED
        await store.write(begin)
        await store.write(closed(session, begin.turn_id, status, trace=trace, finished_at=at(number + 1)))
        ids.append(trace.id)
    key, traces = session.key, store.repositories.traces

    async def found(limit: int = 20, offset: int = 0, **wanted: Any) -> tuple[list[str], int]:
        page, total = await traces.list(TraceFilter(key.workspace_id, **wanted), limit=limit, offset=offset)
        return [trace.id for trace in page], total

    assert await found() == (ids[::-1], 4)
    assert await found(2, 1) == ([ids[2], ids[1]], 4)
    assert await found(status=TurnStatus.FAILED) == ([ids[2]], 1)
    assert await found(since=at(1), until=at(2)) == ([ids[2], ids[1]], 2)
    assert await found(agent_id="chad", session_id=session.id, uid=key.uid) == (ids[::-1], 4)
    assert await found(agent_id="other") == ([], 0)
    assert await traces.prune(at(2)) == 2
    assert await found() == ([ids[3], ids[2]], 2)


async def test_the_bill_and_the_traces_go_with_their_workspace(pool: Pool) -> None:
    store = Store(Repositories.on(pool), Journal(pool))
    session = await store.session()
    await run(store, session, DEAR, trace=TurnTrace(new_id("trc")))
    async with pool.connection() as connection:
        await connection.execute("DELETE FROM workspaces WHERE id = %s", (session.key.workspace_id,))
        left = await connection.execute(
            "SELECT (SELECT count(*) FROM billing_usage), (SELECT count(*) FROM agent_traces)"
        )
        assert await left.fetchone() == (0, 0)
