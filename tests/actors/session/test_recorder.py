"""What a turn says reaches the log once, in order, and never before its commit."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.session.flusher import Flusher
from understudy.actors.session.recorder import BACKLOG, Recorder
from understudy.runtime import EventLog, Numbered
from understudy.storage.entries import Entry, EventsAppended
from understudy.storage.errors import Fenced, StorageError, StoreUnavailable
from understudy.storage.records import RunEvent, Session, SessionKey, SessionStatus

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SESSION = Session("ses_1", SessionKey("ws_1", "usr_1", "chad", "chat", "main"), SessionStatus.ACTIVE, NOW, NOW, epoch=1)


class FlakyWriter:
    """A journal that fails now and then, sometimes only after it has written; it keeps what it has by number."""

    def __init__(self, script: Sequence[str]) -> None:
        self._script = list(script)
        self.rows: dict[int, RunEvent] = {}
        self.cancels: trio.CancelScope | None = None

    async def write(self, *entries: Entry) -> None:
        (outcome,) = await self.write_groups([entries])
        if outcome is not None:
            raise outcome

    async def write_groups(self, groups: Sequence[tuple[Entry, ...]]) -> Sequence[StorageError | None]:
        await trio.lowlevel.checkpoint()
        step = self._script.pop(0) if self._script else "ok"
        if self.cancels is not None:
            self.cancels.cancel()
        if step == "fenced":
            return [Fenced("a newer incarnation owns the session")] * len(groups)
        if step != "lost":
            for entry in (entry for group in groups for entry in group):
                assert isinstance(entry, EventsAppended)
                for event in entry.events:
                    self.rows.setdefault(event.seq, event)
        if step != "ok":
            raise StoreUnavailable(retry_after=0.0)
        return [None] * len(groups)


def shown(log: EventLog[RunEvent]) -> list[Numbered[RunEvent]]:
    """Everything that readers of the log were shown."""
    reader = log.subscribe(0)
    events = []
    while isinstance(item := reader.take_ready(), Numbered):
        events.append(item)
    return events


steps = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.text(min_size=1, max_size=3)),
        st.tuples(st.just("event"), st.sampled_from(["tool_call", "tool_result"])),
        st.tuples(st.just("flush"), st.just("")),
        st.tuples(st.just("flush, cancelled in the middle"), st.just("")),
        st.tuples(st.just("a moment"), st.just("")),
    ),
    max_size=25,
)


@given(steps, st.lists(st.sampled_from(["ok", "lost", "unknown"]), max_size=20))
def test_whatever_fails_in_between_readers_see_what_is_stored_and_all_that_was_said(
    script: list[tuple[str, str]], failures: list[str]
) -> None:
    async def main() -> None:
        log = EventLog[RunEvent](ring=10_000)
        writer = FlakyWriter(failures)
        flusher = Flusher(writer)
        recorder = Recorder(SESSION, "trn_1", log, writer, lambda: NOW, flusher)
        said: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flusher.run)
            recorder.open(nursery.cancel_scope.cancel)
            await play(recorder, writer, log, said)
            await recorder.close()
            nursery.cancel_scope.cancel()
        await recorder.flush()
        events = [item.event for item in shown(log)]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert {event.seq: event for event in events} == writer.rows
        told = [e.data["content"] if e.type == "content" else f"<{e.type}>" for e in events]
        assert "".join(told) == "".join(said)

    async def play(recorder: Recorder, writer: FlakyWriter, log: EventLog[RunEvent], said: list[str]) -> None:
        for step, value in script:
            match step:
                case "text":
                    recorder.text(value)
                    said.append(value.replace("\x00", "\ufffd"))
                case "event":
                    recorder.add(value, {"name": value})
                    said.append(f"<{value}>")
                case "flush":
                    await recorder.flush()
                case "a moment":
                    await trio.sleep(0.003)
                case _:
                    with trio.CancelScope() as writer.cancels:
                        await recorder.flush()
                    writer.cancels = None
            for item in shown(log):
                assert writer.rows[item.seq] == item.event, "shown before it was stored, or otherwise than stored"

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_text_that_waits_for_a_commit_becomes_one_event() -> None:
    log = EventLog[RunEvent]()
    recorder = Recorder(SESSION, "trn_1", log, FlakyWriter([]), lambda: NOW)
    for word in ("one ", "two ", "three"):
        recorder.text(word)
    await recorder.flush()
    assert [item.event.data for item in shown(log)] == [{"content": "one two three"}]


async def test_a_model_that_is_faster_than_the_disk_has_to_wait() -> None:
    log = EventLog[RunEvent]()
    recorder = Recorder(SESSION, "trn_1", log, FlakyWriter([]), lambda: NOW)
    for _ in range(BACKLOG + 1):
        recorder.text("word ")
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recorder.wait_room)
            await trio.testing.wait_all_tasks_blocked()
            assert nursery.child_tasks, "it should be waiting"
            await recorder.flush()


async def test_what_is_said_is_shown_a_moment_later_without_anybody_asking_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log, writer = EventLog[RunEvent](), FlakyWriter(["lost"])
    flusher = Flusher(writer)
    recorder = Recorder(SESSION, "trn_1", log, writer, lambda: NOW, flusher)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flusher.run)
        recorder.text("before ")
        recorder.open(lambda: None)
        await trio.sleep(1)
        recorder.text("after")
        await trio.sleep(1)
        await recorder.close()
        recorder.text("closed")
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert [item.event.data["content"] for item in shown(log)] == ["before ", "after"]


async def test_a_recorder_whose_session_has_a_newer_owner_says_so_and_shows_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log, writer = EventLog[RunEvent](), FlakyWriter(["fenced"])
    flusher = Flusher(writer)
    recorder = Recorder(SESSION, "trn_1", log, writer, lambda: NOW, flusher)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flusher.run)
        with trio.CancelScope() as turn:
            recorder.open(turn.cancel)
            recorder.text("hello")
            await trio.sleep(60)
        assert turn.cancelled_caught
        with pytest.raises(Fenced):
            await recorder.close()
        nursery.cancel_scope.cancel()
    assert shown(log) == []


async def test_who_closes_waits_for_the_commit_under_way_even_when_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class SlowWriter(FlakyWriter):
        async def write_groups(self, groups: Sequence[tuple[Entry, ...]]) -> Sequence[StorageError | None]:
            await trio.sleep(0.5)
            return await super().write_groups(groups)

    log, writer = EventLog[RunEvent](), SlowWriter([])
    flusher = Flusher(writer)
    recorder = Recorder(SESSION, "trn_1", log, writer, lambda: NOW, flusher)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flusher.run)
        recorder.open(lambda: None)
        recorder.text("hello")
        await trio.sleep(0.1)
        recorder.text(" there")
        with trio.move_on_after(0):
            await recorder.close()
        assert [item.event.data["content"] for item in shown(log)] == ["hello"]
        recorder.open(lambda: None)
        recorder.text(".")
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()  # the flusher's actor is stopped: it still finishes what it began
    assert [item.event.data["content"] for item in shown(log)] == ["hello", " there."]
