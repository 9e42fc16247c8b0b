"""Which traces are exported, when, and what becomes of them while a collector is away: with a clock that jumps."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.actors.traces.stage import AWAY, FULL, NO, staged
from tests.support.otlp import spans_in
from understudy.actors.diagnostics.messages import CheckStatus
from understudy.actors.traces.export import AT_ONCE, MOST_SPANS, PAUSES, export_check
from understudy.actors.traces.messages import EXPORT
from understudy.actors.traces.ports import Taken
from understudy.storage.spending import Span


async def test_what_ended_together_goes_out_together_and_once(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with staged() as stage:
            turns = [await stage.turn() for _ in range(3)]
            await stage.tell(turns[1])
            await trio.sleep(5)
            await stage.tell(turns[0])
            await trio.sleep(5)
            assert stage.collector.turns == turns
            assert len(stage.collector.bodies) == 1
            state = await stage.state()
            assert (state.exported, state.waiting, state.dropped, state.problem) == (3, 0, 0, None)


async def test_turns_go_out_however_they_ended(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with staged() as stage:
            turns = [await stage.turn() for _ in range(3)]
            for turn, event in zip(turns, ("agent.completed", "agent.failed", "agent.cancelled"), strict=True):
                await stage.tell(turn, event)
            await trio.sleep(5)
            assert sorted(stage.collector.turns) == sorted(turns)


async def test_a_collector_that_is_away_is_tried_again_with_pauses_that_grow_until_it_is_back(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(7200):
        async with staged(*[AWAY] * 9) as stage:
            first = await stage.turn()
            await trio.sleep(2.0)
            assert (await stage.state()).failures > 0
            second = await stage.turn()
            await trio.sleep(1800)
            assert stage.collector.turns == [first, second]
            pauses = [after - before for before, after in zip(stage.collector.at, stage.collector.at[1:], strict=False)]
            assert len(pauses) == 9
            for number, pause in enumerate(pauses):
                usual = min(PAUSES.limit, 2.0**number)
                assert 0.8 * usual <= pause <= usual + 0.3
            state = await stage.state()
            assert (state.exported, state.failures, state.problem) == (2, 0, None)


async def test_a_collector_that_says_when_to_come_back_is_not_asked_before(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with staged(FULL) as stage:
            turn = await stage.turn()
            await trio.sleep(29)
            assert stage.collector.turns == []
            await trio.sleep(5)
            assert stage.collector.turns == [turn]


async def test_of_too_many_that_wait_the_oldest_are_dropped_and_counted_where_operators_look(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(3600):
        async with staged(shut=True, most=5) as stage:
            lost = [await stage.turn() for _ in range(2)]
            await trio.sleep(1)  # these two are under way
            assert (await export_check().run(stage.system)).status is CheckStatus.PASS
            stage.collector.script.append(AWAY)
            kept = [await stage.turn() for _ in range(5)]
            stage.collector.gate.set()
            await trio.sleep(600)
            assert stage.collector.turns == kept
            assert not set(lost) & set(stage.collector.turns)
            shown = await stage.system.inspect(EXPORT)
            assert (shown["exported"], shown["dropped"]) == (5, 2)
            finding = await export_check().run(stage.system)
            assert finding.status is CheckStatus.WARN
            assert "2 dropped" in finding.message


async def test_what_is_refused_is_not_sent_again_and_does_not_hold_up_others(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with staged(NO, Taken(2, "too old")) as stage:
            await stage.turn()
            await trio.sleep(60)
            assert (await stage.state()).refused == 1
            assert "answered 400" in (await export_check().run(stage.system)).message
            second = await stage.turn()
            await trio.sleep(60)
            assert stage.collector.turns == [second]
            state = await stage.state()
            assert (state.exported, state.rejected_spans, len(stage.collector.at)) == (1, 2, 2)
            assert state.problem is not None
            assert "too old" in state.problem


@pytest.mark.parametrize("how", ["kill", "restart"])
async def test_nothing_is_lost_with_an_exporter_that_is_ended_in_the_middle(
    autojump_clock: MockClock, how: str
) -> None:
    with trio.fail_after(3600):
        async with staged(shut=True) as stage:
            turns = [await stage.turn() for _ in range(2)]
            await trio.sleep(1)
            await (stage.system.kill if how == "kill" else stage.system.restart)(EXPORT)
            await trio.sleep(1)
            stage.collector.gate.set()
            await trio.sleep(60)
            assert stage.collector.turns == turns


async def test_a_node_that_stops_lets_go_what_a_working_collector_takes(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with staged() as stage:
            turn = await stage.turn()
            await stage.system.stop()
            assert stage.collector.turns == [turn]


async def test_a_node_that_stops_does_not_wait_for_a_collector_that_is_away(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with staged(*[AWAY] * 50) as stage:
            await stage.turn()
            await trio.sleep(5)
            began = trio.current_time()
            await stage.system.stop()
            assert trio.current_time() - began < 0.1


async def test_a_database_that_is_away_is_waited_for(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with staged() as stage:
            turn = await stage.turn()
            stage.memory.tables.available = False
            await trio.sleep(5)
            assert stage.collector.at == []
            stage.memory.tables.available = True
            await trio.sleep(120)
            assert stage.collector.turns == [turn]


async def test_a_turn_that_was_deleted_meanwhile_is_passed_over(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with staged() as stage:
            await stage.tell("trn_gone")
            turn = await stage.turn()
            await trio.sleep(5)
            assert stage.collector.turns == [turn]
            assert (await stage.state()).missing == 1


async def test_requests_are_bounded_in_traces_and_in_spans(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with staged(shut=True, most=200) as stage:
            for _ in range(AT_ONCE + 1):
                await stage.turn(spans=())
            for _ in range(10):
                await stage.turn(spans=(Span("context", 0, 0, {}),) * 499)
            await wait_all_tasks_blocked()
            stage.collector.gate.set()
            await trio.sleep(60)
            sizes = [len(spans_in(body)) for body in stage.collector.bodies]
            assert sizes == [AT_ONCE, 1 + 4 * 500, 4 * 500, 2 * 500]
            assert max(sizes) < MOST_SPANS + 501
