"""Running an agent on somebody's behalf."""

from collections.abc import AsyncIterator

import pytest
import trio

from tests.actors.session.stage import KEY, Line, say, stage
from tests.actors.session.test_turns import forever
from understudy.actors.errors import Forbidden, NotFound, ProviderFailed, TimedOut
from understudy.actors.facts import read_fact
from understudy.actors.inference.messages import ModelEvent, TextDelta
from understudy.actors.session.errand import Errand, run_errand
from understudy.actors.session.messages import DIRECTORY, TurnStarted
from understudy.actors.workspaces.actor import workspaces_spec
from understudy.storage.records import TurnStatus, Usage

ERRAND = Errand(KEY.uid, KEY.workspace_id, "chad", "see to it", surface_id="heartbeat:hbt_1")


async def test_an_errand_is_a_turn_of_a_conversation_of_its_own() -> None:
    async with stage() as it:
        await it.system.spawn(workspaces_spec(it.store))
        done = await run_errand(it.system, ERRAND)
        assert (done.content, done.usage, done.tools_used) == ("hello there", Usage(10, 2), ())
        session = await it.store.sessions.get(done.session_id, uid=KEY.uid)
        assert session is not None
        assert (session.key.surface, session.key.surface_id) == ("prop", "heartbeat:hbt_1")


async def test_whoever_started_it_learns_where_it_runs_before_it_is_done() -> None:
    seen: list[TurnStarted] = []

    async def note(started: TurnStarted) -> None:
        seen.append(started)

    async with stage() as it:
        await it.system.spawn(workspaces_spec(it.store))
        done = await run_errand(it.system, ERRAND, on_start=note)
        assert [(x.session_id, x.turn_id) for x in seen] == [(done.session_id, done.turn_id)]


async def test_an_errand_for_a_stranger_or_with_an_unknown_agent_is_refused_as_a_chat_would_be() -> None:
    async with stage() as it:
        await it.system.spawn(workspaces_spec(it.store))
        with pytest.raises(Forbidden):
            await run_errand(it.system, Errand("usr_other", KEY.workspace_id, "chad", "see to it"))
        with pytest.raises(NotFound):
            await run_errand(it.system, Errand(KEY.uid, KEY.workspace_id, "nobody", "see to it"))


async def test_a_provider_that_fails_fails_the_errand_in_its_own_words() -> None:
    async def fail(line: Line) -> AsyncIterator[ModelEvent]:
        yield TextDelta("hm")
        raise ProviderFailed("it is on fire")

    async with stage(fail) as it:
        await it.system.spawn(workspaces_spec(it.store))
        with pytest.raises(ProviderFailed, match="on fire"):
            await run_errand(it.system, ERRAND)


async def test_an_errand_out_of_time_leaves_no_turn_running(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    async with stage(lambda line: forever("still thinking")) as it:
        await it.system.spawn(workspaces_spec(it.store))
        began: list[TurnStarted] = []

        async def note(started: TurnStarted) -> None:
            began.append(started)

        with pytest.raises(TimedOut):
            await run_errand(it.system, Errand(KEY.uid, KEY.workspace_id, "chad", "x", timeout=3.0), on_start=note)
        assert it.models.open == 0
        turn = await it.store.sessions.turn(began[0].turn_id)
        assert turn is not None
        assert turn.status is TurnStatus.CANCELLED


async def test_an_errand_that_cannot_be_stopped_is_out_of_time_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    del autojump_clock
    async with stage(lambda line: forever("still thinking")) as it:
        await it.system.spawn(workspaces_spec(it.store))

        async def wedge(_started: TurnStarted) -> None:
            await it.system.suspend(DIRECTORY)

        with pytest.raises(TimedOut):
            await run_errand(it.system, Errand(KEY.uid, KEY.workspace_id, "chad", "x", timeout=3.0), on_start=wedge)
        await it.system.resume(DIRECTORY)


async def test_giving_an_errand_up_does_not_stop_the_turn_after_it(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    async with stage(lambda line: forever("one") if line.number == 0 else say("two")) as it:
        await it.system.spawn(workspaces_spec(it.store))
        async with trio.open_nursery() as nursery:
            started = trio.Event()

            async def note(_started: TurnStarted) -> None:
                started.set()

            first = trio.CancelScope()

            async def give_up() -> None:
                with first:
                    await run_errand(it.system, ERRAND, on_start=note)

            nursery.start_soon(give_up)
            await started.wait()
            done: list[str] = []

            async def second() -> None:
                done.append((await run_errand(it.system, ERRAND)).content)

            nursery.start_soon(second)
            await trio.testing.wait_all_tasks_blocked()
            first.cancel()
        assert done == ["two"]


async def test_the_end_of_a_turn_is_told_in_the_transaction_that_records_it() -> None:
    async with stage() as it:
        turn = await it.start("hello")
        await it.read(turn)
        (item,) = await it.store.outbox.claim(10, now=it.now(), lease=it.now() - it.time)
        told = read_fact(item)
        assert (told.event, told.uid, told.workspace_id) == ("agent.completed", KEY.uid, KEY.workspace_id)
        assert told.data["turnId"] == turn.turn_id
        assert told.data["usage"] == {"promptTokens": 10, "completionTokens": 2, "totalTokens": 12}
