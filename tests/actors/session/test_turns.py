"""What a conversation does with its turns."""

from collections.abc import AsyncIterator

import attrs
import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from tests.actors.session.stage import CHAD, KEY, Line, say, stage, text, types
from understudy.actors.errors import (
    Conflict,
    Invalid,
    NotFound,
    ProviderFailed,
    RateLimited,
    TurnCancelled,
    Unavailable,
)
from understudy.actors.inference.messages import (
    Finished,
    ModelEvent,
    ModelRef,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
)
from understudy.actors.presence.actor import presence_spec
from understudy.actors.presence.messages import PRESENCE, ListPresence
from understudy.actors.session.messages import (
    DIRECTORY,
    CancelTurn,
    GetSession,
    ListSessions,
    OnBusy,
    Reset,
    ResetDone,
    ResumeStream,
    session_address,
)
from understudy.actors.session.session import MAX_QUEUE
from understudy.storage.errors import StoreUnavailable
from understudy.storage.records import IdempotencyKey, Role, TurnStatus, Usage


async def forever(*words: str) -> AsyncIterator[ModelEvent]:
    """Some words, and then silence."""
    for word in words:
        await trio.lowlevel.checkpoint()
        yield TextDelta(word)
    await trio.sleep_forever()


async def call(*arguments: str) -> AsyncIterator[ModelEvent]:
    """Ask for the echo tool, once for each of the arguments."""
    for index, each in enumerate(arguments):
        yield ToolCallStarted(index, f"call_{index}", "echo")
        yield ToolCallCompleted(index, f"call_{index}", "echo", each)
    await trio.lowlevel.checkpoint()
    yield Finished("tool_calls", Usage(5, 5), "script-1")


async def test_a_turn_streams_its_answer_and_keeps_question_and_answer() -> None:
    async with stage() as it:
        events = await it.chat("hi")
        assert types(events)[0] == "session_resolved"
        assert events[0].data["isNew"] is True
        assert text(events) == "hello there"
        done = events[-1]
        assert done.type == "done"
        assert done.data["content"] == "hello there"
        assert done.data["usage"] == {"promptTokens": 10, "completionTokens": 2, "totalTokens": 12}
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        session_id = done.data["sessionId"]
        detail = await it.system.ask(DIRECTORY, GetSession(KEY.uid, session_id))
        assert [(m.role, m.content) for m in detail.messages] == [(Role.USER, "hi"), (Role.ASSISTANT, "hello there")]
        assert detail.running_turn is None


async def test_the_next_message_goes_on_in_the_same_conversation_and_the_model_sees_what_was_said() -> None:
    async with stage() as it:
        first = await it.start("one")
        await it.read(first)
        second = await it.start("two")
        await it.read(second)
        assert second.session_id == first.session_id
        assert (first.is_new, second.is_new) == (True, False)
        assert [m.content for m in it.models.requests[1].messages[1:]] == ["one", "hello there", "two"]


async def test_an_unknown_agent_is_refused_and_leaves_no_session_behind() -> None:
    async with stage() as it:
        with pytest.raises(NotFound):
            await it.start("hi", key=attrs.evolve(KEY, agent_id="nobody"))
        assert (await it.system.ask(DIRECTORY, ListSessions(KEY.uid))).total == 0


async def test_tools_run_side_by_side_and_their_results_go_back_to_the_model_in_the_order_of_the_calls() -> None:
    async with stage(lambda line: call("1", "2", "3") if line.number == 0 else say("done")) as it:
        it.tools.cue = trio.Event()
        turn = await it.start("use tools")
        while it.tools.running < 3:
            await trio.lowlevel.checkpoint()
        it.tools.cue.set()
        events = await it.read(turn)
        assert types(events).count("tool_result") == 3
        assert [e.data["index"] for e in events if e.type == "tool_call"] == [0, 1, 2]
        assert events[-1].data["toolsUsed"] == ["echo"]
        sent = it.models.requests[1].messages
        assert [m.tool_call_id for m in sent if m.role is Role.TOOL] == ["call_0", "call_1", "call_2"]
        assert [c.id for c in sent[2].tool_calls] == ["call_0", "call_1", "call_2"]


async def test_after_five_rounds_of_tools_the_model_must_answer_without_them() -> None:
    async with stage(lambda line: call("x") if line.request.tools else say("at last")) as it:
        events = await it.chat("loop")
        assert len(it.models.requests) == 6
        assert events[-1].data["content"] == "at last"
        indexes = [e.data["index"] for e in events if e.type == "tool_call"]
        assert indexes == [0, 1, 2, 3, 4]
        (trace,) = it.store.tables.traces.values()
        cut = [span.attributes.get("truncatedRounds", False) for span in trace.spans if span.kind == "inference"]
        assert cut == [False] * 5 + [True]


async def test_a_turn_names_its_fallbacks_and_has_one_retry_budget_over_its_rounds() -> None:
    agent = attrs.evolve(CHAD, fallbacks=(ModelRef("claude", "claude-x"),))

    async def answer_elsewhere(line: Line) -> AsyncIterator[ModelEvent]:
        async for event in call("x") if line.number % 2 == 0 else say("hi"):
            yield attrs.evolve(event, provider="claude") if isinstance(event, Finished) else event

    async with stage(answer_elsewhere, agent=agent) as it:
        events = await it.chat("one")
        await it.chat("two")
        assert events[-1].data["model"] == "claude/script-1", "who answered is told, not who was asked first"
        assert {request.fallbacks for request in it.models.requests} == {agent.fallbacks}
        first, second, third, fourth = it.models.budgets
        assert first is second is not None
        assert third is fourth is not first


async def test_an_answer_that_is_as_long_as_it_may_be_says_so() -> None:
    async def long(line: Line) -> AsyncIterator[ModelEvent]:
        await trio.lowlevel.checkpoint()
        yield TextDelta("and so on and")
        yield Finished("length", Usage(1, 3), "script-1")

    async with stage(long) as it:
        assert (await it.chat("hi"))[-1].data["finishReason"] == "length"


async def test_a_failing_provider_ends_the_turn_with_an_error_and_what_was_streamed_is_kept() -> None:
    async def fail(line: Line) -> AsyncIterator[ModelEvent]:
        yield TextDelta("so far")
        await trio.lowlevel.checkpoint()
        raise ProviderFailed("the provider closed the stream")

    async with stage(fail) as it:
        events = await it.chat("hi")
        assert events[-1].type == "error"
        assert events[-1].data["code"] == "PROVIDER_ERROR"
        detail = await it.system.ask(DIRECTORY, GetSession(KEY.uid, events[0].data["sessionId"]))
        assert [(m.content, m.status) for m in detail.messages] == [("hi", "complete"), ("so far", "failed")]


async def test_a_turn_that_takes_too_long_ends_with_a_timeout(autojump_clock: MockClock) -> None:
    async with stage(lambda line: forever("one ", "two"), turn_timeout=0.1) as it:
        events = await it.chat("hi")
        assert events[-1].data["code"] == "TIMEOUT"
        assert text(events) == "one two"
        assert it.models.open == 0


async def test_cancel_answers_when_the_turn_is_quiet_and_keeps_what_was_streamed() -> None:
    async with stage(lambda line: forever("one ", "two")) as it:
        turn = await it.start("hi")
        async with it.system.subscribe(session_address(turn.session_id), after=turn.after + 1) as stream:
            await anext(stream)
            cancelled = await it.system.ask(DIRECTORY, CancelTurn(KEY.uid, turn.session_id))
        assert it.models.open == 0
        assert cancelled.turn_id == turn.turn_id
        assert cancelled.status is TurnStatus.CANCELLED
        events = await it.read(turn)
        assert events[-1].seq == cancelled.last_seq
        assert events[-1].data["code"] == "CANCELLED"
        detail = await it.system.ask(DIRECTORY, GetSession(KEY.uid, turn.session_id))
        assert detail.messages[-1].content == text(events) == "one two"
        assert detail.messages[-1].status == "cancelled"


async def test_cancelling_a_quiet_session_says_so_and_a_strangers_session_does_not_exist() -> None:
    async with stage() as it:
        turn = await it.start("hi")
        await it.read(turn)
        quiet = await it.system.ask(DIRECTORY, CancelTurn(KEY.uid, turn.session_id))
        assert quiet.turn_id is None
        for ask in (CancelTurn("usr_2", turn.session_id), GetSession("usr_2", turn.session_id)):
            with pytest.raises(NotFound):
                await it.system.ask(DIRECTORY, ask)


async def test_a_busy_session_lets_the_next_message_wait_by_default_and_serves_in_order() -> None:
    gate = trio.Event()

    async def gated(line: Line) -> AsyncIterator[ModelEvent]:
        await gate.wait()
        yield TextDelta(line.request.messages[-1].content)
        yield Finished("stop", Usage(), "script-1")

    async with stage(gated) as it:
        answers: list[str] = []

        async def ask(message: str) -> None:
            answers.append((await it.chat(message))[-1].data["content"])

        async with trio.open_nursery() as nursery:
            for message in ("a", "b", "c"):
                nursery.start_soon(ask, message)
                await trio.testing.wait_all_tasks_blocked()
            gate.set()
        assert answers == ["a", "b", "c"]


async def test_reject_refuses_a_busy_session_and_a_full_queue_refuses_everybody() -> None:
    async with stage(lambda line: forever()) as it, trio.open_nursery() as nursery:
        await it.start("first")
        with pytest.raises(Conflict):
            await it.start("second", on_busy=OnBusy.REJECT)

        async def wait(number: int) -> None:
            with pytest.raises(TurnCancelled):
                await it.start(f"waits {number}")

        for number in range(MAX_QUEUE):
            nursery.start_soon(wait, number)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RateLimited):
            await it.start("one too many")
        (session,) = (await it.system.ask(DIRECTORY, ListSessions(KEY.uid))).sessions
        await it.system.ask(DIRECTORY, CancelTurn(KEY.uid, session.id))


async def test_interrupt_stops_the_running_turn_and_keeps_it_and_rollback_takes_it_back() -> None:
    def script(line: Line) -> AsyncIterator[ModelEvent]:
        return forever("partial") if line.request.messages[-1].content.startswith("long") else say("short")

    async with stage(script) as it:
        first = await it.start("long one")
        async with it.system.subscribe(session_address(first.session_id), after=first.after + 1) as stream:
            await anext(stream)
        await it.chat("second", on_busy=OnBusy.INTERRUPT)
        assert [m.content for m in it.models.requests[-1].messages[1:]] == ["long one", "partial", "second"]
        third = await it.start("long two")
        async with it.system.subscribe(session_address(third.session_id), after=third.after + 1) as stream:
            await anext(stream)
        await it.chat("fourth", on_busy=OnBusy.ROLLBACK)
        sent = [m.content for m in it.models.requests[-1].messages[1:]]
        assert sent == ["long one", "partial", "second", "short", "fourth"]
        detail = await it.system.ask(DIRECTORY, GetSession(KEY.uid, first.session_id))
        assert "long two" not in [m.content for m in detail.messages]


async def test_the_same_key_and_body_is_one_turn_and_another_body_is_a_conflict() -> None:
    key = IdempotencyKey("usr_1|ws_1|POST /agent/chat", "k1", b"hash")
    async with stage() as it:
        first = await it.start("hi", idempotency=key)
        events = await it.read(first)
        again = await it.start("hi", idempotency=key)
        assert again.replayed
        assert again.turn_id == first.turn_id
        assert await it.read(again) == events
        assert len(it.models.requests) == 1
        with pytest.raises(Conflict):
            await it.start("ho", idempotency=attrs.evolve(key, request_hash=b"other"))


async def test_a_repeat_of_the_turn_that_still_runs_joins_it_even_when_busy_sessions_reject() -> None:
    key = IdempotencyKey("usr_1|ws_1|POST /agent/chat", "k1", b"hash")
    gate = trio.Event()

    async def gated(line: Line) -> AsyncIterator[ModelEvent]:
        await gate.wait()
        yield TextDelta("once")
        yield Finished("stop", Usage(), "script-1")

    async with stage(gated) as it:
        first = await it.start("hi", idempotency=key, on_busy=OnBusy.REJECT)
        second = await it.start("hi", idempotency=key, on_busy=OnBusy.REJECT)
        assert second.turn_id == first.turn_id
        gate.set()
        assert await it.read(first) == await it.read(second)


async def test_a_failed_turn_gives_its_key_back() -> None:
    key = IdempotencyKey("usr_1|ws_1|POST /agent/chat", "k1", b"hash")

    async def fail_once(line: Line) -> AsyncIterator[ModelEvent]:
        await trio.lowlevel.checkpoint()
        if line.number == 0:
            raise ProviderFailed("down")
        yield TextDelta("up")
        yield Finished("stop", Usage(), "script-1")

    async with stage(fail_once) as it:
        assert types(await it.chat("hi", idempotency=key))[-1] == "error"
        assert types(await it.chat("hi", idempotency=key))[-1] == "done"


async def test_a_session_killed_in_the_middle_of_a_turn_ends_it_as_interrupted_and_readers_are_told() -> None:
    def script(line: Line) -> AsyncIterator[ModelEvent]:
        return forever("half ", "an answer") if line.number == 0 else say("back")

    async with stage(script) as it:
        turn = await it.start("hi")
        seen: list[str] = []

        async def read() -> None:
            seen.extend(f"{e.seq} {e.type}" for e in await it.read(turn))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            async with it.system.subscribe(session_address(turn.session_id), after=turn.after + 1) as stream:
                await anext(stream)
            await it.system.kill(session_address(turn.session_id))
        assert it.models.open == 0
        assert seen == ["1 session_resolved", "2 content", "3 error"]
        detail = await it.system.ask(DIRECTORY, GetSession(KEY.uid, turn.session_id))
        assert [(m.content, m.status) for m in detail.messages] == [
            ("hi", "complete"),
            ("half an answer", "interrupted"),
        ]
        assert detail.running_turn is None
        assert text(await it.chat("still there?")) == "back"


async def test_reset_archives_the_conversation_and_the_next_message_begins_a_new_one() -> None:
    async with stage() as it:
        first = await it.start("hi")
        await it.read(first)
        done = await it.system.ask(DIRECTORY, Reset(KEY))
        assert done.archived_session_id == first.session_id
        second = await it.start("hi again")
        assert second.session_id == done.session_id != first.session_id
        assert second.is_new
        await it.read(second)
        assert [m.content for m in it.models.requests[-1].messages[1:]] == ["hi again"]


async def test_to_reset_twice_is_to_reset_once() -> None:
    async with stage() as it:
        await it.read(await it.start("hi"))
        once = await it.system.ask(DIRECTORY, Reset(KEY))
        again = await it.system.ask(DIRECTORY, Reset(KEY))
        assert again == ResetDone(archived_session_id=None, session_id=once.session_id)
        assert (await it.start("hi again")).session_id == once.session_id


async def test_an_archived_conversation_is_no_longer_present() -> None:
    async with stage(agent=attrs.evolve(CHAD, idle_timeout=600.0)) as it:
        await it.system.spawn(presence_spec())
        here = ListPresence(KEY.uid, KEY.workspace_id)
        first = await it.start("hi")
        await it.read(first)
        assert [p.session_id for p in await it.system.ask(PRESENCE, here)] == [first.session_id]
        await it.system.ask(DIRECTORY, Reset(KEY))
        assert await it.system.ask(PRESENCE, here) == ()
        second = await it.start("hi")
        await it.read(second)
        it.pass_time(minutes=11)
        third = await it.start("hi again")
        await it.read(third)
        assert [p.session_id for p in await it.system.ask(PRESENCE, here)] == [third.session_id]


async def test_reset_stops_a_running_turn_first() -> None:
    async with stage(lambda line: forever("one")) as it:
        turn = await it.start("hi")
        await it.system.ask(DIRECTORY, Reset(KEY))
        assert it.models.open == 0
        assert (await it.read(turn))[-1].data["code"] == "CANCELLED"


async def test_a_conversation_idle_for_too_long_is_replaced_by_itself() -> None:
    async with stage(agent=attrs.evolve(CHAD, idle_timeout=600.0)) as it:
        first = await it.start("hi")
        await it.read(first)
        it.pass_time(minutes=9)
        second = await it.start("still here")
        await it.read(second)
        assert second.session_id == first.session_id
        it.pass_time(minutes=11)
        third = await it.start("and now?")
        assert third.session_id != first.session_id
        assert third.is_new
        assert types(await it.read(third))[-1] == "done"


async def test_a_turn_that_nobody_reads_is_cancelled_after_its_grace(autojump_clock: MockClock) -> None:
    async with stage(lambda line: forever("one")) as it:
        turn = await it.start("hi", grace=0.05)
        while it.models.open:
            await trio.sleep(0.01)
        events = await it.read(turn)
        assert events[-1].data["code"] == "CANCELLED"
        assert text(events) == "one"


async def test_a_reader_that_comes_back_finds_the_turn_its_event_belongs_to() -> None:
    async with stage() as it:
        turn = await it.start("hi")
        events = await it.read(turn)
        resumed = await it.system.ask(DIRECTORY, ResumeStream(KEY.uid, KEY.workspace_id, turn.session_id, 2))
        assert resumed.turn_id == turn.turn_id
        assert await it.read(resumed) == events[2:]
        with pytest.raises(Invalid):
            await it.system.ask(DIRECTORY, ResumeStream(KEY.uid, KEY.workspace_id, turn.session_id, 99))
        with pytest.raises(NotFound):
            await it.system.ask(DIRECTORY, ResumeStream("usr_2", KEY.workspace_id, turn.session_id, 1))


async def test_an_idle_session_leaves_memory_and_wakes_where_it_was(autojump_clock: MockClock) -> None:
    async with stage(idle_after=0.05) as it:
        first = await it.start("one")
        await it.read(first)
        address = session_address(first.session_id)
        while it.system.whereis(address) is not None:
            await trio.sleep(0.01)
        second = await it.start("two")
        assert second.session_id == first.session_id
        assert second.after == 3
        await it.read(second)
        assert [m.content for m in it.models.requests[-1].messages[1:]] == ["one", "hello there", "two"]


async def test_a_repeated_request_while_the_database_is_away_is_refused_and_the_turn_under_way_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = trio.Event()

    async def slowly() -> AsyncIterator[ModelEvent]:
        await go.wait()
        async for event in say("said"):
            yield event

    async with stage(lambda line: slowly()) as it:
        turn = await it.start("one")

        async def away(scope: str, key: str) -> None:
            raise StoreUnavailable("the database is away")

        monkeypatch.setattr(it.store.sessions, "turn_by_idempotency", away)
        with pytest.raises(Unavailable):
            await it.start("two", idempotency=IdempotencyKey("usr_1:POST /agent/chat", "k", b"0" * 32))
        go.set()
        assert types(await it.read(turn))[-1] == "done"
