"""Heartbeats through days of a clock that jumps: when they look, and whom they wake."""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise

import attrs
import trio
from trio.testing import MockClock

from tests.actors.heartbeats.stage import PAGE, URL, now, slowly, stage, words
from tests.actors.session.stage import KEY, Line, say
from tests.support.feeds import rss
from understudy.actors.errors import ProviderFailed
from understudy.actors.heartbeats.document import Kind, Trigger
from understudy.actors.heartbeats.messages import (
    DISABLED,
    FIRED,
    HEARTBEATS,
    ListHeartbeats,
)
from understudy.actors.inference.messages import ModelEvent
from understudy.actors.outbound.guarded import OutboundFailed
from understudy.storage.records import WorkspaceRole


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
    async with stage(slowly(400), wake_timeout=900.0, turn_timeout=900.0) as it:
        it.web.answers[URL] = rss("one")
        beat = (await it.make(fire_on_first_run=True)).heartbeat.id
        runs = await it.settled(beat, 3)
        assert words(runs) == ["triggered", "skipped", "unchanged"]
        assert [later.due_at - sooner.due_at for sooner, later in pairwise(runs)] == [timedelta(minutes=5)] * 2
        assert len(it.told(beat)) == 1
