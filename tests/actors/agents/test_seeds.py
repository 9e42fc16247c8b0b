"""Agents from the configuration."""

from typing import Any

import pytest

from tests.actors.agents.stage import document, running
from understudy.actors.agents.messages import (
    CreateAgent,
    DeleteAgent,
    GetAgent,
    ListAgents,
    ListVersions,
    ReplaceAgent,
    RollBack,
    Source,
)
from understudy.actors.agents.seeds import Seeds, read_seeds
from understudy.actors.errors import Conflict, Forbidden
from understudy.storage.records import Agent, AgentVersion, AuditEntry

PROMPT = "Help {{workspace.displayName}}."


def read(*entries: dict[str, Any]) -> Seeds:
    return read_seeds(entries, model="openai/gpt-4.1-mini", providers=("mycompany",))


def test_an_agent_of_a_file_is_everybodys_and_on_the_servers_model_unless_it_names_one() -> None:
    seeds = read(
        {"id": "a", "systemPromptTemplate": PROMPT},
        {"id": "b", "systemPromptTemplate": PROMPT, "model": {"temperature": 0.1}},
        {"id": "c", "systemPromptTemplate": PROMPT, "model": {"provider": "mycompany", "modelId": "x/y"}},
    )
    assert (seeds.problems, seeds.unknown) == ((), ())
    models = [agent.document.model for agent in seeds.agents]
    assert [(model.provider, model.model_id, model.temperature) for model in models] == [
        ("openai", "gpt-4.1-mini", 0.7),
        ("openai", "gpt-4.1-mini", 0.1),
        ("mycompany", "x/y", 0.7),
    ]
    assert {(agent.source, agent.workspace_id, agent.version) for agent in seeds.agents} == {(Source.GLOBAL, None, 1)}
    assert seeds.agents[0].document.display_name == "a"


def test_all_that_is_wrong_in_a_file_is_named_by_agent_and_field() -> None:
    seeds = read(
        {"id": "fine", "systemPromptTemplate": PROMPT, "tools": {"allow": ["comes-later"]}, "skills": ["so-does-this"]},
        {"id": "odd", "systemPromptTemplate": "{{#if x}}", "model": {"provider": "acme", "modelId": "x"}},
        {"id": "Bad Id", "systemPromptTemplate": PROMPT},
        {"systemPromptTemplate": PROMPT},
        {"id": "hot", "systemPromptTemplate": PROMPT, "model": {"temperature": 3}},
        {"id": "half", "systemPromptTemplate": PROMPT, "model": {"provider": "openai"}},
        {"id": "flat", "systemPromptTemplate": PROMPT, "model": "openai/gpt"},
        {"id": "agents", "systemPromptTemplate": PROMPT},
    )
    assert [agent.id for agent in seeds.agents] == ["fine"]
    found = [(problem.path, problem.issue) for problem in seeds.problems]
    assert found[:2] == [("odd.model.provider", "unknown_provider"), ("odd.systemPromptTemplate", "bad_template")]
    assert [path for path, _ in found[2:]] == ["Bad Id", "number 4", "hot", "half", "flat", "agents.id"]
    assert "`$.model.temperature`" in found[4][1]
    assert "`modelId`" in found[5][1]


def test_a_field_that_no_agent_has_is_told() -> None:
    seeds = read(
        {"id": "a", "systemPromptTemplate": PROMPT, "quota": {}, "model": {"temprature": 1}, "spawn": {"x": {"y": 1}}}
    )
    assert seeds.unknown == ("a.quota", "a.model.temprature", "a.spawn.x")
    assert len(seeds.agents) == 1


async def test_an_agent_of_the_file_is_run_everywhere_and_changed_nowhere() -> None:
    seeds = read({"id": "shared", "systemPromptTemplate": PROMPT, "tools": {"allow": ["clock"]}}).agents
    async with running(seeds=seeds) as node:
        for name in ("mira", "noor"):
            config = await node.resolve("shared", f"ws_{name}")
            assert (config.tools, config.workspace_name) == (("clock",), name.title())
        assert await node.ask(GetAgent("ws_mira", "shared")) == seeds[0]
        assert (await node.ask(ListVersions("ws_mira", "shared"))).total == 1
        listed = await node.ask(ListAgents("ws_mira"))
        assert [agent.id for agent in listed.agents] == ["chad", "shared"]
        for message in (
            ReplaceAgent(node.mira, "shared", document()),
            DeleteAgent(node.mira, "shared"),
            RollBack(node.mira, "shared", 1),
        ):
            with pytest.raises(Forbidden):
                await node.ask(message)
        with pytest.raises(Conflict):
            await node.ask(CreateAgent(node.mira, "shared", document()))


async def test_a_workspace_that_had_an_agent_of_that_id_keeps_its_own() -> None:
    seeds = read({"id": "shared", "systemPromptTemplate": PROMPT}).agents
    async with running(seeds=seeds) as node:
        now = node.store.tables.now()
        config = {"model": {"provider": "openai", "modelId": "own"}, "systemPromptTemplate": "Own."}
        own = Agent("agc_1", "ws_mira", "shared", AgentVersion("agv_1", 1, config, now), now, now)
        await node.store.agents.create(own, AuditEntry("aud_1", "agent.created", "info", now))
        assert (await node.resolve("shared")).model_id == "own"
        assert (await node.resolve("shared", "ws_noor")).model_id == "gpt-4.1-mini"
        listed = await node.ask(ListAgents("ws_mira"))
        assert [(agent.id, agent.source) for agent in listed.agents][1] == ("shared", Source.WORKSPACE)
        await node.ask(ReplaceAgent(node.mira, "shared", document(description="still own")))
        await node.ask(DeleteAgent(node.mira, "shared"))
        assert (await node.resolve("shared")).model_id == "gpt-4.1-mini"


async def test_what_the_database_has_for_everybody_cannot_be_changed_from_a_workspace_either() -> None:
    async with running() as node:
        now = node.store.tables.now()
        config = {"model": {"provider": "openai", "modelId": "all"}, "systemPromptTemplate": "All."}
        everybodys = Agent("agc_1", None, "shared", AgentVersion("agv_1", 1, config, now), now, now)
        await node.store.agents.create(everybodys, AuditEntry("aud_1", "agent.created", "info", now))
        assert (await node.resolve("shared")).model_id == "all"
        for message in (ReplaceAgent(node.mira, "shared", document()), DeleteAgent(node.mira, "shared")):
            with pytest.raises(Forbidden):
                await node.ask(message)
        with pytest.raises(Conflict):
            await node.ask(CreateAgent(node.mira, "shared", document()))


async def test_chad_of_the_file_takes_the_place_of_the_one_that_comes_with_the_server() -> None:
    seeds = read({"id": "chad", "systemPromptTemplate": "You are another Chad."}).agents
    async with running(seeds=seeds) as node:
        assert (await node.resolve("chad")).system_prompt == "You are another Chad."
