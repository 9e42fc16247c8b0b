"""`agent_spawn`: an agent has another do something, with no more than both may do."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from tests.actors.session.stage import CHAD, KEY, Line, Stage, say, stage, text
from tests.actors.session.test_turns import forever
from understudy.actors.agents.config import FileAccess, Spawning
from understudy.actors.inference.messages import Finished, ModelEvent, ToolCallCompleted, ToolCallStarted
from understudy.actors.outbound.guarded import GuardedClient
from understudy.actors.session.messages import DIRECTORY, CancelTurn
from understudy.actors.tools.blackboard import blackboard_tools
from understudy.actors.tools.builtin import builtin_tools
from understudy.actors.tools.spawning import spawning_tools
from understudy.actors.tools.toolbox import Toolbox
from understudy.actors.workspaces.actor import workspaces_spec
from understudy.storage.records import Role, Usage

LEAD = attrs.evolve(
    CHAD,
    tools=("agent_spawn", "calculator"),
    spawn=Spawning(enabled=True, allowed_targets=("helper",)),
    file_access=FileAccess(True, ("notes",)),
)
HELPER = attrs.evolve(
    CHAD,
    id="helper",
    tools=("http_get", "calculator", "agent_spawn"),
    spawn=Spawning(enabled=True, allowed_targets=("helper",), max_depth=9),
    file_access=FileAccess(restricted=False),
)


@asynccontextmanager
async def two_agents(script: object, lead: object = LEAD) -> AsyncGenerator[Stage, None]:
    def tools(it: Stage) -> Toolbox:
        return Toolbox([*builtin_tools(GuardedClient()), *spawning_tools(it.system), *blackboard_tools()])

    async with stage(script, agent=lead, tools=tools) as it:  # type: ignore[arg-type]
        it.others["helper"] = HELPER
        await it.system.spawn(workspaces_spec(it.store))
        yield it


async def use(tool: str, **arguments: object) -> AsyncIterator[ModelEvent]:
    await trio.lowlevel.checkpoint()
    yield ToolCallStarted(0, "c1", tool)
    yield ToolCallCompleted(0, "c1", tool, json.dumps(arguments))
    yield Finished("tool_calls", Usage(10, 1), "script-1")


def spawn(agent: str = "helper", task: str = "count the sheep") -> AsyncIterator[ModelEvent]:
    return use("agent_spawn", agentId=agent, task=task)


def results(line: Line) -> list[str]:
    return [message.content for message in line.request.messages if message.role is Role.TOOL]


async def test_another_agent_answers_with_the_tools_that_both_have() -> None:
    def script(line: Line) -> AsyncIterator[ModelEvent]:
        if line.number == 0:
            return spawn()
        return say("seven") if line.number == 1 else say(f"it says: {results(line)[0]}")

    async with two_agents(script) as it:
        assert text(await it.chat("how many sheep?")) == "it says: seven"
        child = it.models.requests[1]
        assert [tool.name for tool in child.tools] == ["calculator", "agent_spawn"]
        assert child.messages[-1].content == "count the sheep"
        sessions = {session.key.agent_id: session.key for session in it.store.tables.sessions.values()}
        assert (sessions["helper"].surface, sessions["helper"].uid) == ("spawn", KEY.uid)


async def test_no_more_than_two_stand_below_the_one_that_was_spoken_to() -> None:
    def script(line: Line) -> AsyncIterator[ModelEvent]:
        return say(results(line)[0]) if results(line) else spawn()

    async with two_agents(script) as it:
        said = text(await it.chat("go"))
        assert said == "this agent may not have others do things here"
        assert len([r for r in it.models.requests if not any(m.role is Role.TOOL for m in r.messages)]) == 3


@pytest.mark.parametrize(
    ("agent", "spawning", "told"),
    [
        ("helper", Spawning(), "may not have others do things"),
        ("nobody", LEAD.spawn, "may not have 'nobody' do things; those that it may: helper"),
        ("gone", Spawning(enabled=True, allowed_targets=("gone",)), "gone: there is no such agent"),
    ],
)
async def test_what_an_agent_may_not_have_done_it_is_told(agent: str, spawning: Spawning, told: str) -> None:
    def script(line: Line) -> AsyncIterator[ModelEvent]:
        return say(results(line)[0]) if results(line) else spawn(agent)

    async with two_agents(script, attrs.evolve(LEAD, spawn=spawning)) as it:
        assert told in text(await it.chat("go"))


async def test_cancelling_the_turn_cancels_what_it_had_others_do() -> None:
    def script(line: Line) -> AsyncIterator[ModelEvent]:
        return spawn() if line.number == 0 else forever("still counting")

    async with two_agents(script) as it:
        started = await it.start("go")
        while len(it.models.requests) < 2:
            await trio.sleep(0.005)
        await it.system.ask(DIRECTORY, CancelTurn(KEY.uid, started.session_id, started.turn_id), timeout=10)
        assert it.models.open == 0
        assert {turn.status.value for turn in it.store.tables.turns.values()} == {"cancelled"}


async def test_agents_of_one_turn_share_a_board_and_nobody_else_sees_it() -> None:
    board = ("blackboard_read", "blackboard_write")

    def script(line: Line) -> AsyncIterator[ModelEvent]:
        match line.number:
            case 0:
                return spawn()
            case 1:
                return use("blackboard_write", key="sheep", value="seven")
            case 2:
                return say("written")
            case 3 | 5:
                return use("blackboard_read", keys=["sheep"])
            case _:
                return say(results(line)[-1])

    async with two_agents(script, attrs.evolve(LEAD, tools=(*LEAD.tools, *board))) as it:
        it.others["helper"] = attrs.evolve(HELPER, tools=(*HELPER.tools, *board))
        assert text(await it.chat("count")) == '{"sheep":"seven"}'
        assert text(await it.chat("and now?")) == "{}"
