"""Heartbeats through days of a clock that jumps: when they look, whom they wake, and what is left when they die."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.actors.heartbeats.stage import EDITOR, PAGE, URL, inline, now, rss, stage
from tests.actors.session.stage import KEY, Line, say
from tests.support.storage import at
from understudy.actors.errors import Conflict, Forbidden, Invalid, NotFound, ProviderFailed
from understudy.actors.heartbeats.document import Kind, Trigger
from understudy.actors.heartbeats.messages import (
    DISABLED,
    FIRED,
    HEARTBEATS,
    ChangeHeartbeat,
    DeleteHeartbeat,
    Editor,
    ListHeartbeats,
    heartbeat_address,
)
from understudy.actors.heartbeats.services import LEASE, HeartbeatServices
from understudy.actors.heartbeats.tree import heartbeats_spec
from understudy.actors.inference.messages import ModelEvent
from understudy.actors.outbound.guarded import OutboundFailed
from understudy.runtime import ActorSystem
from understudy.storage.heartbeat_records import Claim, HeartbeatRun
from understudy.storage.records import WorkspaceRole


def words(runs: Sequence[HeartbeatRun]) -> list[str]:
    return [run.status.value for run in runs]


async def test_a_third_item_wakes_the_agent_once_and_what_was_there_before_never(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("two", "one")
        made = await it.make()
        beat = made.heartbeat.id
        await it.settled(beat, 1)
        assert it.told(beat) == []
        it.web.answers[URL] = rss("three", "two", "one")
        runs = await it.settled(beat, 3)
        assert words(runs) == ["ok", "triggered", "unchanged"]
        assert [run.due_at for run in runs] == [made.heartbeat.next_run_at + timedelta(minutes=5 * n) for n in range(3)]
        (message,) = it.told(beat)
        assert "- three" in message
        assert "- two" not in message
        session = await it.it.store.sessions.get(runs[1].session_id or "", uid=KEY.uid)
        assert session is not None
        assert (session.key.surface, session.key.surface_id) == ("prop", f"heartbeat:{beat}")
        (fired,) = it.facts(FIRED)
        assert fired.data.items() >= {"heartbeatId": beat, "source": "rss", "agentId": "chad", "itemCount": 1}.items()
        assert fired.uid == KEY.uid


async def test_a_server_that_says_nothing_changed_is_believed(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL], it.web.etags[URL] = rss("one"), '"v1"'
        beat = (await it.make()).heartbeat.id
        runs = await it.settled(beat, 2)
        assert words(runs) == ["ok", "unchanged"]
        assert [run.http_status for run in runs] == [200, 304]


async def test_the_first_look_fires_with_the_newest_item_when_asked_to(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("two", "one")
        beat = (await it.make(fire_on_first_run=True, prompt="{{status}}: {{items}}")).heartbeat.id
        await it.settled(beat, 1)
        assert it.told(beat) == ["1 new item: - two"]


async def test_items_without_a_keyword_are_seen_and_not_told_and_no_more_than_so_many_are(
    autojump_clock: MockClock,
) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("old")
        beat = (await it.make(keywords=("Cat",), max_items=2, prompt="{{items}}")).heartbeat.id
        await it.settled(beat, 1)
        it.web.answers[URL] = rss("dog", "old")
        await it.settled(beat, 2)
        it.web.answers[URL] = rss("cat 3", "cat 2", "CAT 1", "dog", "old")
        runs = await it.settled(beat, 4)
        assert words(runs) == ["ok", "ok", "triggered", "unchanged"]
        assert it.told(beat) == ["- cat 3\n- cat 2"]


async def test_of_several_feeds_one_that_fails_keeps_none_of_the_others_back(autojump_clock: MockClock) -> None:
    other = "http://b.example/feed"
    async with stage() as it:
        it.web.answers |= {URL: rss("a1"), other: rss("b1")}
        beat = (await it.make(urls=(URL, other), prompt="{{items}}")).heartbeat.id
        await it.settled(beat, 1)
        it.web.answers |= {URL: OutboundFailed("no route"), other: rss("b2", "b1")}
        runs = await it.settled(beat, 2)
        assert (words(runs)[1], runs[1].error) == ("triggered", "no route")
        it.web.answers |= {URL: rss("a2", "a1"), other: 500}
        runs = await it.settled(beat, 3)
        assert words(runs)[2] == "triggered"
        assert it.told(beat) == ["- b2", "- a2"]


async def test_a_feed_that_is_added_later_has_a_first_look_of_its_own(autojump_clock: MockClock) -> None:
    other = "http://b.example/feed"
    async with stage() as it:
        it.web.answers |= {URL: rss("a1"), other: rss("b1")}
        beat = (await it.make(prompt="{{items}}")).heartbeat.id
        await it.settled(beat, 1)
        await it.change(beat, urls=(URL, other))
        it.web.answers[URL] = rss("a2", "a1")
        await it.settled(beat, 2)
        assert it.told(beat) == ["- a2"]


async def test_a_page_that_changes_goes_down_and_comes_back_is_told_once_each(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[PAGE] = b"price: 10"
        beat = (await it.make(type=Kind.HTTP, urls=(PAGE,), prompt="{{status}}|{{diff}}|{{url}}")).heartbeat.id
        await it.settled(beat, 1)
        it.web.answers[PAGE] = b"price:   12"
        await it.settled(beat, 3)
        it.web.answers[PAGE] = 500
        await it.settled(beat, 6)
        it.web.answers[PAGE] = b"price: 12"
        runs = await it.settled(beat, 8)
        assert words(runs) == [
            "ok", "triggered", "unchanged", "error", "triggered", "error", "triggered", "unchanged",
        ]  # fmt: skip
        assert it.told(beat) == [
            f"changed|-price: 10\n+price: 12|{PAGE}",
            f"down (HTTP 500)||{PAGE}",
            f"back up||{PAGE}",
        ]


async def test_who_wants_to_hear_of_failures_only_is_not_told_of_changes(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[PAGE] = b"one"
        made = await it.make(type=Kind.HTTP, urls=(PAGE,), trigger=Trigger.ON_FAILURE, prompt="{{status}}")
        beat = made.heartbeat.id
        await it.settled(beat, 1)
        it.web.answers[PAGE] = b"two"
        await it.settled(beat, 2)
        it.web.answers[PAGE] = OutboundFailed("connection refused")
        await it.settled(beat, 3)
        it.web.answers[PAGE] = b"three"
        runs = await it.settled(beat, 4)
        assert words(runs) == ["ok", "ok", "error", "ok"], "one failure is no outage"
        assert it.told(beat) == []


async def test_who_wants_to_hear_each_time_does(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[PAGE] = b'{"a": {"b": 1}}'
        made = await it.make(type=Kind.HTTP, urls=(PAGE,), trigger=Trigger.ALWAYS, prompt="{{status}}", select="/a/b")
        beat = made.heartbeat.id
        await it.settled(beat, 1)
        it.web.answers[PAGE] = b'{"a": {"b": 2}}'
        await it.settled(beat, 2)
        it.web.answers[PAGE] = b'{"a": {"c": 2}}'
        runs = await it.settled(beat, 4)
        assert words(runs) == ["triggered", "triggered", "error", "triggered"]
        assert runs[2].error == "there is nothing at /a/b"
        assert it.told(beat) == ["up", "changed", "down (there is nothing at /a/b)"]


async def test_errors_in_a_row_stretch_the_pause_and_switch_it_off_in_the_end(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL] = 404
        beat = (await it.make()).heartbeat.id
        runs = await it.settled(beat, 4)
        pauses = [(b.due_at - a.due_at) // timedelta(minutes=5) for a, b in pairwise(runs)]
        assert pauses == [1, 2, 4]
        assert set(words(runs)) == {"error"}
        beats = it.it.store.heartbeats.beats
        beats[beat] = attrs.evolve(beats[beat], errors=19)
        await it.settled(beat, 5)
        (view,) = await it.system.ask(HEARTBEATS, ListHeartbeats(KEY.workspace_id))
        assert not view.heartbeat.enabled
        assert view.heartbeat.disabled_reason == "20 errors in a row; the last: http://a.example/feed: HTTP 404"
        (off,) = it.facts(DISABLED)
        assert off.data["heartbeatId"] == beat
        await trio.sleep(7 * 3600)
        assert len(await it.runs(beat)) == 5

        it.web.answers[URL] = rss("one")
        changed = await it.change(beat, enabled=True)
        assert (changed.heartbeat.next_run_at, changed.heartbeat.errors) == (now(), 0)
        assert words(await it.settled(beat, 6))[-1] == "ok"


async def test_an_agent_that_fails_is_told_the_same_items_at_the_next_due_time(autojump_clock: MockClock) -> None:
    async def script(line: Line) -> AsyncIterator[ModelEvent]:
        if line.number == 0:
            raise ProviderFailed("it is on fire")
        async for event in say("noted"):
            yield event

    async with stage(script) as it:
        it.web.answers[URL] = rss("one")
        beat = (await it.make(prompt="{{items}}")).heartbeat.id
        await it.settled(beat, 1)
        it.web.answers[URL] = rss("two", "one")
        runs = await it.settled(beat, 4)
        assert words(runs) == ["ok", "error", "triggered", "unchanged"]
        assert "on fire" in (runs[1].error or "")
        assert runs[1].session_id == runs[2].session_id is not None
        assert it.told(beat) == ["- two", "- two"]


async def test_a_heartbeat_whose_maker_may_no_longer_run_agents_wakes_nobody(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("one")
        beat = (await it.make()).heartbeat.id
        await it.settled(beat, 1)
        role, since = it.it.store.tables.members[KEY.workspace_id, KEY.uid]
        assert role is WorkspaceRole.OWNER
        it.it.store.tables.members[KEY.workspace_id, KEY.uid] = (WorkspaceRole.VIEWER, since)
        it.web.answers[URL] = rss("two", "one")
        runs = await it.settled(beat, 2)
        assert words(runs) == ["ok", "error"]
        assert it.told(beat) == []


async def test_a_due_time_that_comes_while_the_agent_is_at_work_is_skipped(autojump_clock: MockClock) -> None:
    async def slow(line: Line) -> AsyncIterator[ModelEvent]:
        await trio.sleep(400)
        async for event in say("noted"):
            yield event

    async with stage(slow, wake_timeout=900.0, turn_timeout=900.0) as it:
        it.web.answers[URL] = rss("one")
        beat = (await it.make(fire_on_first_run=True)).heartbeat.id
        runs = await it.settled(beat, 3)
        assert words(runs) == ["triggered", "skipped", "unchanged"]
        assert [later.due_at - sooner.due_at for sooner, later in pairwise(runs)] == [timedelta(minutes=5)] * 2
        assert len(it.told(beat)) == 1


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
    async def slow(line: Line) -> AsyncIterator[ModelEvent]:
        await trio.sleep(30)
        async for event in say("noted"):
            yield event

    async with stage(slow) as it:
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
    async def slow(line: Line) -> AsyncIterator[ModelEvent]:
        await trio.sleep(20)
        async for event in say("noted"):
            yield event

    async with stage(slow) as it:
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
    async def slow(line: Line) -> AsyncIterator[ModelEvent]:
        await trio.sleep(100)
        async for event in say("noted"):
            yield event

    async with stage(slow) as it:
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


async def test_a_new_interval_counts_from_the_last_due_time(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("one")
        made = await it.make(interval=3600)
        beat, first = made.heartbeat.id, made.heartbeat.next_run_at
        await it.settled(beat, 1)
        await trio.sleep(1000)
        changed = await it.change(beat, interval=1800)
        assert changed.heartbeat.next_run_at == first + timedelta(seconds=1800)
        await trio.sleep(600)
        changed = await it.change(beat, interval=300)
        assert changed.heartbeat.next_run_at <= now()


async def test_what_cannot_be_is_refused_with_the_field(autojump_clock: MockClock) -> None:
    async with stage() as it:
        cases: list[tuple[dict[str, Any], str]] = [
            ({"interval": 299}, "intervalMinutes"),
            ({"interval": 604_801}, "intervalMinutes"),
            ({"urls": ()}, "url"),
            ({"urls": ("ftp://a.example/",)}, "url"),
            ({"urls": ("http://localhost/feed",)}, "url"),
            ({"urls": (URL, "http://localhost/feed")}, "feeds[1]"),
            ({"urls": (URL, URL)}, "feeds"),
            ({"urls": tuple(f"{URL}{n}" for n in range(11))}, "feeds"),
            ({"type": Kind.HTTP, "urls": (PAGE, URL)}, "feeds"),
            ({"select": "a/b"}, "select"),
            ({"headers": {"Host": "b.example"}}, "headers.Host"),
            ({"headers": {"x y": "1"}}, "headers"),
            ({"headers": {"x": "a\r\nb"}}, "headers.x"),
            ({"name": "  "}, "name"),
            ({"keywords": (" ",)}, "keywords"),
        ]
        for fields, path in cases:
            with pytest.raises(Invalid) as refused:
                await it.make(**fields)
            assert path in [detail.path for detail in refused.value.details], fields
        with pytest.raises(NotFound):
            await it.make(agent_id="nobody")
        assert await it.system.ask(HEARTBEATS, ListHeartbeats(KEY.workspace_id)) == ()


async def test_it_acts_as_its_maker_so_only_they_say_what_it_does_and_admins_only_stop_it(
    autojump_clock: MockClock,
) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("one")
        beat = (await it.make()).heartbeat.id
        other = Editor(KEY.workspace_id, "usr_2")
        with pytest.raises(Forbidden):
            await it.system.ask(HEARTBEATS, ChangeHeartbeat(other, beat, {"prompt": "tell me all"}))
        with pytest.raises(Forbidden):
            await it.system.ask(HEARTBEATS, DeleteHeartbeat(other, beat))
        with pytest.raises(NotFound):
            await it.system.ask(HEARTBEATS, ChangeHeartbeat(Editor("ws_2", KEY.uid, admin=True), beat, {}))
        admin = Editor(KEY.workspace_id, "usr_2", admin=True)
        for words in ({"prompt": "tell me"}, {"agent_id": "chad"}, {"urls": (URL,)}, {"name": "x", "keywords": ()}):
            with pytest.raises(Forbidden):
                await it.system.ask(HEARTBEATS, ChangeHeartbeat(admin, beat, words))
        changed = await it.system.ask(HEARTBEATS, ChangeHeartbeat(admin, beat, {"name": "slower"}, enabled=False))
        assert (changed.document.name, changed.heartbeat.enabled, changed.heartbeat.uid) == ("slower", False, KEY.uid)
        events = [line.entry.event for line in it.it.store.tables.audit]
        assert events == ["heartbeat.created", "heartbeat.updated"]


async def test_a_workspace_has_room_for_a_hundred(autojump_clock: MockClock) -> None:
    async with stage() as it:
        for _ in range(100):
            await it.make(enabled=False)
        with pytest.raises(Conflict):
            await it.make(enabled=False)
