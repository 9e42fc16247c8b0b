"""Agents that fail again and again are left alone for a while."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel

from tests.actors.session.stage import KEY, Line, Stage, say, stage, types
from understudy.actors.errors import AgentPaused, ProviderFailed, RateLimited
from understudy.actors.healing.actor import HealingRules, healing_spec
from understudy.actors.healing.health import Health
from understudy.actors.healing.messages import HEALING, ResumeAgent
from understudy.actors.inference.messages import ModelEvent


@asynccontextmanager
async def ailing(
    failing: set[str], *, error: Exception | None = None, rules: HealingRules | None = None
) -> AsyncGenerator[Stage, None]:
    """A stage whose model fails when it is asked one of *failing*."""

    def script(line: Line) -> AsyncIterator[ModelEvent]:
        if line.request.messages[-1].content in failing:
            raise error or ProviderFailed("it is down")
        return say("well")

    def health(it: Stage) -> Health:
        return Health(it.system)

    async with stage(script, health=health) as it:
        await it.system.spawn(healing_spec(it.store.health, rules or HealingRules(), it.now))
        yield it


def told(it: Stage) -> list[str]:
    topics = [o.item.topic for o in it.store.tables.outbox.values()]
    return [topic for topic in topics if topic in {"agent.paused", "agent.resumed"}]


async def written(it: Stage) -> None:
    while (await it.system.inspect(HEALING))["unwritten"]:
        await trio.lowlevel.checkpoint()


async def fail(it: Stage, times: int) -> None:
    for _ in range(times):
        assert types(await it.chat("bad"))[-1] == "error"


async def paused(it: Stage) -> None:
    while not (await it.system.inspect(HEALING))["paused"]:
        await trio.lowlevel.checkpoint()


async def test_after_three_failures_in_a_row_the_agent_is_paused_and_says_for_how_long() -> None:
    async with ailing({"bad"}) as it:
        await fail(it, 3)
        await paused(it)
        it.pass_time(minutes=5)
        with pytest.raises(AgentPaused) as refused:
            await it.start("good")
        assert refused.value.retry_after == 600
        assert len(it.models.requests) == 3
        await written(it)
        assert told(it) == ["agent.paused"]
        assert types(await it.chat("/help"))[-1] == "done"


async def test_a_turn_that_ends_well_clears_the_count() -> None:
    async with ailing({"bad"}) as it:
        for _ in range(3):
            await fail(it, 2)
            assert types(await it.chat("good"))[-1] == "done"
        await written(it)
        assert await it.store.health.unwell() == ()


async def test_failures_that_are_not_the_agents_do_not_count() -> None:
    async with ailing({"bad"}, error=RateLimited("later")) as it:
        await fail(it, 4)
        assert types(await it.chat("good"))[-1] == "done"


async def test_a_pause_survives_the_actor_and_ends_by_itself() -> None:
    async with ailing({"bad"}) as it:
        await fail(it, 3)
        await paused(it)
        await written(it)
        await it.system.kill(HEALING)
        with pytest.raises(AgentPaused):
            await it.start("good")
        it.pass_time(minutes=16)
        await it.system.kill(HEALING)
        assert types(await it.chat("good"))[-1] == "done"
        await written(it)
        assert told(it) == ["agent.paused", "agent.resumed"]
        assert await it.store.health.unwell() == ()


async def test_an_operator_ends_a_pause_at_once() -> None:
    async with ailing({"bad"}) as it:
        await fail(it, 3)
        await paused(it)
        assert await it.system.ask(HEALING, ResumeAgent("chad", "ws_other", "ops")) == ()
        assert await it.system.ask(HEALING, ResumeAgent("chad", None, "ops")) == (KEY.workspace_id,)
        assert await it.system.ask(HEALING, ResumeAgent("chad", None, "ops")) == ()
        assert types(await it.chat("good"))[-1] == "done"
        await written(it)
        assert told(it) == ["agent.paused", "agent.resumed"]
        resumed = [o.item for o in it.store.tables.outbox.values() if o.item.topic == "agent.resumed"]
        assert b'"resumedBy":"ops"' in resumed[0].payload


async def test_what_happens_while_the_database_is_away_is_written_when_it_is_back() -> None:
    async with ailing({"bad"}) as it:
        health = Health(it.system)
        it.store.tables.available = False
        for _ in range(3):
            health.ended(KEY.workspace_id, "chad", KEY.uid, "PROVIDER_ERROR")
        with pytest.raises(AgentPaused):
            await health.check(KEY.workspace_id, "chad")
        it.store.tables.available = True
        await written(it)
        (unwell,) = await it.store.health.unwell()
        assert (unwell.failures, unwell.last_error) == (3, "PROVIDER_ERROR")


async def test_failures_of_long_ago_are_forgotten_also_of_agents_that_are_no_more() -> None:
    async with ailing({"bad"}, rules=HealingRules(forget_every=0.01)) as it:
        await fail(it, 2)
        await written(it)
        assert len(await it.store.health.unwell()) == 1
        it.pass_time(days=8)
        while await it.store.health.unwell():
            await trio.lowlevel.checkpoint()
        await fail(it, 2)
        assert types(await it.chat("good"))[-1] == "done"
        assert told(it) == []
