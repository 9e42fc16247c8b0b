"""Giving a conversation to another agent."""

from collections.abc import AsyncIterator
from datetime import timedelta

import attrs
import pytest
import trio

from tests.actors.session.stage import CHAD, KEY, Line, Stage, say, stage
from understudy.actors.errors import Conflict, NotFound
from understudy.actors.facts import read_fact
from understudy.actors.inference.messages import ModelEvent
from understudy.actors.session.messages import (
    DIRECTORY,
    HandOff,
    Reset,
    Session,
    StartTurn,
    session_address,
)
from understudy.storage.records import Role

CODER = attrs.evolve(KEY, agent_id="coder")


async def hand_off(it: Stage, session_id: str, agent_id: str = "coder", reason: str | None = None) -> Session:
    """Hand over to an agent whom the stage then knows."""
    it.agent = attrs.evolve(CHAD, id=agent_id, system_prompt=f"You are {agent_id}.")
    return await it.system.ask(DIRECTORY, HandOff(KEY.uid, session_id, agent_id, reason), timeout=60)


async def test_the_next_turn_is_the_other_agents_with_all_that_was_said(autojump_clock: trio.abc.Clock) -> None:
    with trio.fail_after(600):
        async with stage() as it:
            first = await it.start("write me a program")
            await it.read(first)
            moved = await hand_off(it, first.session_id, reason="it is about code")
            assert (moved.id, moved.key) == (first.session_id, CODER)
            second = await it.start("go on", key=CODER)
            await it.read(second)
            assert (second.session_id, second.is_new) == (first.session_id, False)
            told = it.models.requests[-1].messages
            assert "You are coder." in told[0].content
            said = [(message.role, message.content) for message in told[1:]]
            assert said[0] == (Role.USER, "write me a program")
            assert said[-1] == (Role.USER, "go on")
            (note,) = [content for role, content in said if role is Role.SYSTEM]
            assert note == (
                "This conversation was handed over from the agent chad to the agent coder."
                ' The user\'s reason: "it is about code"'
            )


async def test_the_old_place_begins_anew_and_the_fact_is_told(autojump_clock: trio.abc.Clock) -> None:
    with trio.fail_after(600):
        async with stage() as it:
            first = await it.start("hello")
            await it.read(first)
            await hand_off(it, first.session_id)
            items = await it.store.outbox.claim(9, now=it.now(), lease=timedelta(seconds=9))
            (told,) = [read_fact(item) for item in items if item.topic == "session.handoff"]
            assert (told.uid, told.workspace_id) == (KEY.uid, KEY.workspace_id)
            assert told.data == {
                "sessionId": first.session_id,
                "fromAgentId": "chad",
                "toAgentId": "coder",
                "reason": None,
            }
            it.agent = CHAD
            again = await it.start("hello again, chad")
            assert again.session_id != first.session_id
            assert (await it.read(again))[-1].type == "done"


async def test_a_turn_that_reaches_the_session_by_its_old_key_is_sent_on(autojump_clock: trio.abc.Clock) -> None:
    with trio.fail_after(600):
        async with stage() as it:
            first = await it.start("hello")
            await it.read(first)
            await hand_off(it, first.session_id)
            it.agent = CHAD
            # As the directory would, had it not heard of the handoff: and after the session's own restart, too.
            for _ in range(2):
                await it.system.kill(session_address(first.session_id))
                reset = await it.system.ask(session_address(first.session_id), Reset(KEY), timeout=60)
                assert reset.session_id != first.session_id
                late = StartTurn(KEY, "meant for chad")
                turn = await it.system.ask(session_address(first.session_id), late, timeout=60)
                assert turn.session_id != first.session_id
                assert (await it.read(turn))[-1].type == "done"
            found = await it.store.sessions.load(first.session_id)
            assert found is not None
            assert (found.status.value, found.key) == ("active", CODER)
            assert (await it.store.sessions.messages(first.session_id))[0].content == "hello"


async def test_a_turn_under_way_is_not_taken_from_its_agent(autojump_clock: trio.abc.Clock) -> None:
    release = trio.Event()

    async def patient(line: Line) -> AsyncIterator[ModelEvent]:
        await release.wait()
        async for event in say("done"):
            yield event

    with trio.fail_after(600):
        async with stage(patient) as it:
            turn = await it.start("hello", grace=None)
            with pytest.raises(Conflict, match="in the middle of a turn"):
                await hand_off(it, turn.session_id)
            release.set()
            await it.read(turn)
            assert (await hand_off(it, turn.session_id)).key == CODER


async def test_to_the_same_agent_archived_busy_elsewhere_or_a_strangers_is_refused_or_nothing(
    autojump_clock: trio.abc.Clock,
) -> None:
    with trio.fail_after(600):
        async with stage() as it:
            mine = await it.start("hello")
            await it.read(mine)
            same = await it.system.ask(DIRECTORY, HandOff(KEY.uid, mine.session_id, "chad"))
            assert (same.key, same.message_count) == (KEY, 2)
            with pytest.raises(NotFound):
                await it.system.ask(DIRECTORY, HandOff("usr_2", mine.session_id, "chad"))
            with pytest.raises(NotFound, match="agent"):
                await it.system.ask(DIRECTORY, HandOff(KEY.uid, mine.session_id, "nobody"))
            it.agent = attrs.evolve(CHAD, id="coder")
            theirs = await it.start("hello", key=CODER)
            await it.read(theirs)
            with pytest.raises(Conflict, match="in this place"):
                await hand_off(it, mine.session_id)
            it.agent = CHAD
            await it.system.ask(DIRECTORY, Reset(KEY), timeout=60)
            with pytest.raises(Conflict, match="archived"):
                await hand_off(it, mine.session_id, "third")


async def test_a_turn_right_behind_a_handoff_is_the_other_agents(autojump_clock: trio.abc.Clock) -> None:
    with trio.fail_after(600):
        async with stage() as it, trio.open_nursery() as nursery:
            first = await it.start("hello")
            await it.read(first)
            it.agent = attrs.evolve(CHAD, id="coder", system_prompt="You are coder.")
            address = session_address(first.session_id)
            nursery.start_soon(it.system.ask, address, HandOff(KEY.uid, first.session_id, "coder"))
            for _ in range(2):  # tasks that may run do so in any order: the second time, the handoff has been asked for
                await trio.lowlevel.checkpoint()
            turn = await it.system.ask(address, StartTurn(CODER, "go on"), timeout=60)
            assert (await it.read(turn))[-1].type == "done"
            assert turn.session_id == first.session_id
            assert "You are coder." in it.models.requests[-1].messages[0].content
