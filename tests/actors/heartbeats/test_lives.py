"""What becomes of runs when nodes stop, die, share and lose their database."""

from datetime import timedelta
from itertools import pairwise

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.actors.heartbeats.stage import EDITOR, URL, inline, now, slowly, stage, words
from tests.support.feeds import rss
from tests.support.storage import at
from understudy.actors.errors import NotFound
from understudy.actors.heartbeats.messages import (
    FIRED,
    HEARTBEATS,
    DeleteHeartbeat,
    heartbeat_address,
)
from understudy.actors.heartbeats.services import LEASE, HeartbeatServices
from understudy.actors.heartbeats.tree import heartbeats_spec
from understudy.runtime import ActorSystem
from understudy.storage.heartbeat_records import Claim


async def test_downtime_is_made_up_for_with_one_run(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("one")
        made = await it.make(enabled=False)
        beat = made.heartbeat.id
        kept = it.it.store.heartbeats.beats[beat]
        await trio.sleep(3 * 3600 + 77)
        it.it.store.heartbeats.beats[beat] = attrs.evolve(kept, enabled=True)  # as if it had been on, and no node up
        first, second = await it.settled(beat, 2)
        assert first.due_at == kept.next_run_at
        assert now() - timedelta(minutes=10) < second.due_at <= now()
        assert (second.due_at - first.due_at) % timedelta(minutes=5) == timedelta(0)


async def test_what_another_node_holds_is_left_alone_until_its_lease_is_over_and_then_gone_on_with(
    autojump_clock: MockClock,
) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("one")
        made = await it.make(enabled=False)
        beat = made.heartbeat.id
        kept = it.it.store.heartbeats.beats[beat]
        it.it.store.heartbeats.beats[beat] = attrs.evolve(kept, enabled=True)
        moment = now()
        claim = Claim("hbr_dead", beat, kept.next_run_at, at(300), "a dead node", moment, moment + LEASE)
        assert await it.it.store.heartbeat_runs.claim(claim) is not None
        await trio.sleep(25)
        assert words(await it.runs(beat)) == ["running"]
        (run, *_) = await it.settled(beat, 1)
        assert (run.id, run.due_at, run.attempt, run.status.value) == ("hbr_dead", kept.next_run_at, 2, "ok")
        assert run.finished_at is not None
        assert run.finished_at - moment < LEASE + timedelta(seconds=16)


async def test_two_nodes_share_the_due_times_and_each_is_run_once(autojump_clock: MockClock) -> None:
    async with stage() as it, ActorSystem("another node") as other:
        it.web.answers[URL] = rss("one")
        second = HeartbeatServices(it.services.store, it.services.runs, it.web, now, inline)
        await other.spawn(heartbeats_spec(second))
        beats = [(await it.make()).heartbeat.id for _ in range(5)]
        await trio.sleep(3600 - 1)
        for beat in beats:
            runs = await it.runs(beat)
            assert [later.due_at - sooner.due_at for sooner, later in pairwise(runs)] == [timedelta(minutes=5)] * 11
            assert words(runs) == ["ok", *["unchanged"] * 11]
        assert len(it.web.requests) == 5 * 12


@pytest.mark.parametrize("moment", ["while it looks", "while the agent is at work"])
async def test_a_heartbeat_that_is_killed_goes_on_with_its_run_and_wakes_nobody_twice(
    autojump_clock: MockClock, moment: str
) -> None:
    async with stage(slowly(30)) as it:
        it.web.answers[URL] = rss("one")
        if moment == "while it looks":
            it.web.cue = trio.Event()
        beat = (await it.make(fire_on_first_run=True, prompt="{{items}}")).heartbeat.id
        await trio.sleep(10)
        assert len(it.told(beat)) == (moment != "while it looks")
        await it.kill(beat)
        if it.web.cue is not None:
            it.web.cue.set()
        runs = await it.settled(beat, 1)
        assert len({run.due_at for run in runs}) == 1
        assert runs[0].attempt == 2
        assert len(it.told(beat)) == 1
        if moment == "while it looks":
            assert words(runs) == ["triggered"]
        else:
            assert runs[0].error == "the agent's turn was cancelled"
            later = await it.settled(beat, 2)
            assert words(later) == ["error", "triggered"], "what was not told is told at the next due time"


async def test_a_turn_that_ended_while_nobody_held_the_run_is_found_and_not_begun_again(
    autojump_clock: MockClock,
) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("one")
        beat = (await it.make(fire_on_first_run=True)).heartbeat.id
        store = it.it.store
        runs = await it.settled(beat, 1)
        # As if the node had died between the end of the turn and the record of it.
        undone = attrs.evolve(
            runs[0],
            status=type(runs[0].status).RUNNING,
            finished_at=None,
            session_id=None,
            wake={"message": it.told(beat)[0], "itemCount": 1},
            owner="a dead node",
            lease_until=now(),
        )
        store.heartbeats.runs_of[beat][undone.due_at] = undone
        again = await it.settled(beat, 1)
        assert (again[0].status.value, again[0].attempt) == ("triggered", 2)
        assert again[0].session_id == runs[0].session_id
        assert len(it.told(beat)) == 1
        assert len(it.facts(FIRED)) == 1


async def test_a_run_that_ends_with_the_node_each_time_is_given_up(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("one")
        it.web.cue = trio.Event()
        beat = (await it.make()).heartbeat.id
        for _ in range(5):
            await trio.sleep(10)
            await it.kill(beat)
        (run,) = await it.settled(beat, 1)
        assert run.error == "given up after 5 attempts"


async def test_while_the_database_is_away_nothing_happens_and_nothing_is_lost(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("one")
        beat = (await it.make(prompt="{{items}}")).heartbeat.id
        await it.settled(beat, 1)
        it.web.answers[URL] = rss("two", "one")
        it.it.store.tables.available = False
        await trio.sleep(1000)
        it.it.store.tables.available = True
        runs = await it.settled(beat, 2)
        assert words(runs)[:2] == ["ok", "triggered"]
        assert it.told(beat) == ["- two"]


async def test_a_stopping_node_lets_a_run_come_to_its_end(autojump_clock: MockClock) -> None:
    async with stage(slowly(20)) as it:
        it.web.answers[URL] = rss("one")
        beat = (await it.make(fire_on_first_run=True)).heartbeat.id
        await trio.sleep(5)
        store = it.it.store
        await it.system.stop()
        (run,) = store.heartbeats.newest_first(beat)
        assert run.status.value == "triggered"


async def test_only_what_is_due_soon_has_an_actor(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("one")
        hourly, often = (await it.make(interval=3600)).heartbeat.id, (await it.make()).heartbeat.id
        await it.settled(often, 2)
        assert it.system.whereis(heartbeat_address(hourly)) is None
        assert it.system.whereis(heartbeat_address(often)) is not None
        await trio.sleep(3600 - 600)
        assert it.system.whereis(heartbeat_address(hourly)) is not None
        assert len(await it.settled(hourly, 2)) == 2


async def test_a_deleted_heartbeat_stops_in_the_middle_of_what_it_does(autojump_clock: MockClock) -> None:
    async with stage(slowly(100)) as it:
        it.web.answers[URL] = rss("one")
        beat = (await it.make(fire_on_first_run=True)).heartbeat.id
        await trio.sleep(5)
        assert it.it.models.open == 1
        await it.system.ask(HEARTBEATS, DeleteHeartbeat(EDITOR, beat))
        await trio.sleep(5)
        assert it.it.models.open == 0
        assert it.system.whereis(heartbeat_address(beat)) is None
        with pytest.raises(NotFound):
            await it.runs(beat)
