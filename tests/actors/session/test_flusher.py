"""The one task that commits what all turns say: turns live on when it does not."""

from collections.abc import AsyncIterator, Sequence

import trio

from tests.actors.session.stage import KEY, Line, Stage, stage, text, types
from understudy.actors.inference.messages import Finished, ModelEvent, TextDelta
from understudy.actors.session.flusher import BATCH, Flusher
from understudy.runtime import Numbered
from understudy.storage.entries import Entry
from understudy.storage.errors import StorageError
from understudy.storage.records import SessionKey, Usage


async def until_shown(it: Stage, session_id: str, words: str) -> None:
    """Wait until readers of the session were shown *words*."""
    said = ""
    async with it.system.subscribe(f"session/{session_id}") as events:
        async for item in events:
            if isinstance(item, Numbered) and item.event.type == "content":
                said += item.event.data["content"]
            if said.endswith(words):
                return


async def test_a_turn_goes_on_when_the_flusher_is_killed_in_the_middle_of_it() -> None:
    cues = [trio.Event(), trio.Event()]

    async def script(line: Line) -> AsyncIterator[ModelEvent]:
        yield TextDelta("one ")
        await cues[0].wait()
        yield TextDelta("two ")
        await cues[1].wait()
        yield TextDelta("three")
        yield Finished("stop", Usage(10, 3), "script-1")

    async with stage(script) as it:
        turn = await it.start("count")
        await until_shown(it, turn.session_id, "one ")
        await it.system.kill("sessions/flusher")
        cues[0].set()
        await until_shown(it, turn.session_id, "two ")
        await it.system.kill("sessions/flusher")
        cues[1].set()
        events = await it.read(turn)
        assert text(events) == "one two three"
        assert types(events)[-1] == "done"
        assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_turns_of_several_sessions_are_committed_together_and_each_reader_sees_its_own() -> None:
    async def script(line: Line) -> AsyncIterator[ModelEvent]:
        asked = line.request.messages[-1].content
        for word in (asked, " and ", asked):
            await trio.lowlevel.checkpoint()
            yield TextDelta(word)
        yield Finished("stop", Usage(10, 3), "script-1")

    async with stage(script) as it:
        keys = [SessionKey(KEY.workspace_id, KEY.uid, KEY.agent_id, "chat", f"s{n}") for n in range(20)]
        heard: dict[str, str] = {}

        async def talk(key: SessionKey) -> None:
            heard[key.surface_id] = text(await it.chat(key.surface_id, key=key))

        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(talk, key)
        assert heard == {key.surface_id: f"{key.surface_id} and {key.surface_id}" for key in keys}


class Fixed:
    """A source that has one group, once."""

    def __init__(self) -> None:
        self.left: tuple[Entry, ...] | None = ()
        self.outcomes: list[StorageError | None] = []

    def take(self) -> tuple[Entry, ...] | None:
        left, self.left = self.left, None
        return left

    def settled(self, outcome: StorageError | None) -> None:
        self.outcomes.append(outcome)


async def test_a_commit_holds_a_bounded_number_of_turns_and_the_rest_follow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sizes: list[int] = []

    class Writer:
        async def write_groups(self, groups: Sequence[tuple[Entry, ...]]) -> Sequence[StorageError | None]:
            sizes.append(len(groups))
            await trio.sleep(0.01)
            return [None] * len(groups)

        async def write(self, *entries: Entry) -> None:
            raise AssertionError("the flusher writes groups")

    flusher, sources = Flusher(Writer()), [Fixed() for _ in range(BATCH + 10)]
    for source in sources:
        source.left = (object(),)  # type: ignore[assignment]
        flusher.soon(source)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flusher.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert sizes == [BATCH, 10]
    assert all(source.outcomes == [None] for source in sources)
