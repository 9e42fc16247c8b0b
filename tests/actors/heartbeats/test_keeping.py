"""Heartbeats as they are kept: what is refused, by whom they are changed, and how many there may be."""

from datetime import timedelta
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.actors.heartbeats.stage import PAGE, URL, now, stage
from tests.actors.session.stage import KEY
from tests.support.feeds import rss
from understudy.actors.errors import Conflict, Forbidden, Invalid, NotFound
from understudy.actors.heartbeats.document import Kind
from understudy.actors.heartbeats.messages import (
    HEARTBEATS,
    ChangeHeartbeat,
    DeleteHeartbeat,
    Editor,
    ListHeartbeats,
)


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
