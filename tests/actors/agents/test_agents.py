"""The agents actor: what agents there are, and what becomes of changes to them."""

import attrs
import pytest
import trio

from tests.actors.agents.stage import MODEL, document, running
from understudy.actors.agents.actor import MAX_AGE
from understudy.actors.agents.builtin import CHADS_TOOLS, chad
from understudy.actors.agents.messages import (
    DeleteAgent,
    GetAgent,
    GetVersion,
    LabelVersion,
    ListAgents,
    ListCapabilities,
    ListVersions,
    ReplaceAgent,
    ResolveAgent,
    RollBack,
    Source,
)
from understudy.actors.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed, Unavailable
from understudy.storage.agents import MOST_AGENTS
from understudy.storage.records import Agent


async def test_chad_speaks_through_the_configured_model_in_every_workspace_and_without_one() -> None:
    async with running("openrouter/meta/llama-4") as node:
        for workspace_id in ("ws_mira", "ws_noor", ""):
            node.store.tables.available = bool(workspace_id)
            agent = await node.resolve("chad", workspace_id)
            assert (agent.provider, agent.model_id) == ("openrouter", "meta/llama-4")
            assert set(agent.tools) == set(CHADS_TOOLS)


@pytest.mark.parametrize("agent_id", ["", "Chad", "nobody", "chad ", "x" * 10_000, "\x00", "\ud800"])
async def test_an_unknown_agent_is_not_found(agent_id: str) -> None:
    async with running() as node:
        for message in (
            ResolveAgent("ws_mira", agent_id),
            GetAgent("ws_mira", agent_id),
            ListCapabilities("ws_mira", agent_id),
            ReplaceAgent(node.mira, agent_id, document()),
            DeleteAgent(node.mira, agent_id),
            ListVersions("ws_mira", agent_id),
            GetVersion("ws_mira", agent_id, 1),
            RollBack(node.mira, agent_id, 1),
            LabelVersion(node.mira, agent_id, 1, "x"),
        ):
            with pytest.raises(NotFound):
                await node.ask(message)


@pytest.mark.parametrize("model", ["", "gpt", "/gpt", "openai/"])
def test_a_model_is_named_with_its_provider(model: str) -> None:
    with pytest.raises(ValueError, match="provider/model"):
        chad(model)


async def test_a_new_agent_is_run_as_it_was_written() -> None:
    async with running() as node:
        await node.create(
            displayName="Helper",
            description="Helps",
            tier="premium",
            model={
                "provider": "anthropic",
                "modelId": "claude-sonnet-4-5",
                "maxContextTokens": 50_000,
                "maxOutputTokens": 77,
                "temperature": 0.1,
                "endpoint": "https://models.example.org:8443/v1",
            },
            tools={"allow": ["clock", "web"], "deny": ["web"]},
            spawn={"enabled": True, "allowedTargets": ["chad"], "maxDepth": 3},
            fileAccess={"restricted": False, "allowedPaths": ["notes"]},
            session={"idleTimeoutMinutes": 30, "dailyResetHour": 4},
            budget={"maxTokensPerTurn": 9000, "maxToolCallsPerTurn": 3, "maxCostUsdPerTurn": 0.05},
            memoryProfileId="mpr_1",
        )
        config = await node.resolve()
        assert (config.id, config.display_name, config.description) == ("helper", "Helper", "Helps")
        assert (config.provider, config.model_id, config.tier) == ("claude", "claude-sonnet-4-5", "premium")
        assert (config.max_context_tokens, config.max_output_tokens, config.temperature) == (50_000, 77, 0.1)
        assert config.endpoint == "https://models.example.org:8443/v1"
        assert config.tools == ("clock",)
        assert attrs.astuple(config.spawn) == (True, ("chad",), 3)
        assert attrs.astuple(config.file_access) == (False, ("notes",))
        assert (config.idle_timeout, config.daily_reset_hour, config.timezone) == (1800.0, 4, "UTC")
        assert attrs.astuple(config.budget) == (9000, 3, 50_000)
        assert (config.memory_profile_id, config.workspace_name) == ("mpr_1", "Mira")


async def test_an_agent_that_says_little_has_the_defaults_of_the_contract() -> None:
    async with running() as node:
        created = await node.create()
        assert (created.version, created.source, created.workspace_id) == (1, Source.WORKSPACE, "ws_mira")
        assert created.document.display_name == "helper"
        config = await node.resolve()
        assert (config.tier, config.temperature, config.max_output_tokens, config.tools) == ("standard", 0.7, 4096, ())
        assert (config.max_context_tokens, config.idle_timeout, config.daily_reset_hour) == (None, None, None)
        assert not config.spawn.enabled
        assert config.file_access.restricted


async def test_all_that_is_wrong_with_an_agent_is_said_at_once_field_by_field() -> None:
    async with running() as node:
        with pytest.raises(Invalid) as refused:
            await node.create(
                "search",
                model={"provider": "acme", "modelId": "m", "endpoint": "ftp://x"},
                systemPromptTemplate="{{#if x}}",
                skills=["juggling"],
                tools={"allow": ["clock", "sword"], "deny": ["shield"]},
                fileAccess={"allowedPaths": ["ok/..hidden", "a/../../etc"]},
            )
        assert {(detail.path, detail.issue) for detail in refused.value.details} == {
            ("id", "reserved"),
            ("model.provider", "unknown_provider"),
            ("model.endpoint", "invalid_url"),
            ("systemPromptTemplate", "bad_template"),
            ("skills[0]", "unknown_skill"),
            ("tools.allow[1]", "unknown_tool"),
            ("tools.deny[0]", "unknown_tool"),
            ("fileAccess.allowedPaths[1]", "leaves_the_folder"),
        }
        assert "'sword'" in refused.value.message
        assert "'juggling'" in refused.value.message
        await node.create(model={"provider": "mycompany", "modelId": "m"})  # this node has one of that name


@pytest.mark.parametrize("agent_id", ["", "helper\n", "Helper", "-a", "ä", "a" * 65])
async def test_an_id_is_a_short_plain_word(agent_id: str) -> None:
    async with running() as node:
        with pytest.raises(Invalid) as refused:
            await node.create(agent_id)
        assert [detail.path for detail in refused.value.details] == ["id"]


@pytest.mark.parametrize(
    "endpoint",
    ["http://", "https://user:pw@host", "http://host/?q=1", "http://host/#f", "http://h:99999", "http://h h", "//host",
     "http://[::1", "file:///etc/passwd", "http://höst"],
)  # fmt: skip
async def test_an_endpoint_is_a_plain_web_address(endpoint: str) -> None:
    async with running() as node:
        with pytest.raises(Invalid) as refused:
            await node.create(model={**MODEL, "endpoint": endpoint})
        assert [detail.path for detail in refused.value.details] == ["model.endpoint"]


async def test_an_id_can_be_taken_once_in_a_workspace_and_never_a_global_one() -> None:
    async with running() as node:
        await node.create()
        await node.create(author=node.noor)
        for taken in ("helper", "chad"):
            with pytest.raises(Conflict):
                await node.create(taken)


async def test_a_workspace_that_is_full_is_told_so() -> None:
    async with running() as node:
        for number in range(MOST_AGENTS):
            await node.create(f"a{number}")
        with pytest.raises(Conflict, match="as many agents as it may"):
            await node.create("one-more")
        await node.create("one-more", node.noor)


async def test_skills_bring_tools_unless_they_are_denied_and_say_so() -> None:
    async with running() as node:
        node.skills["research"] = ("web", "clock", "gone")
        await node.create(skills=["research"], tools={"allow": ["clock"], "deny": []})
        assert (await node.resolve()).tools == ("clock", "web", "gone")
        can = await node.ask(ListCapabilities("ws_mira", "helper"))
        assert [(tool.name, tool.description, tool.source) for tool in can.tools] == [
            ("clock", "What clock does", "allow"),
            ("web", "What web does", "skill:research"),
        ]
        assert (can.skills, can.denied) == (("research",), ())
        denying = document(skills=["research"], tools={"allow": ["clock"], "deny": ["clock", "web"]})
        await node.ask(ReplaceAgent(node.mira, "helper", denying))
        can = await node.ask(ListCapabilities("ws_mira", "helper"))
        assert (can.tools, can.denied) == ((), ("clock", "web"))
        node.skills.clear()
        assert (await node.ask(ListCapabilities("ws_mira", "helper"))).skills == ()


async def test_another_workspaces_agent_is_forbidden_whatever_is_asked_of_it() -> None:
    async with running() as node:
        await node.create()
        for message in (
            ResolveAgent("ws_noor", "helper"),
            GetAgent("ws_noor", "helper"),
            ListCapabilities("ws_noor", "helper"),
            ReplaceAgent(node.noor, "helper", document()),
            DeleteAgent(node.noor, "helper"),
            ListVersions("ws_noor", "helper"),
            GetVersion("ws_noor", "helper", 1),
            RollBack(node.noor, "helper", 1),
            LabelVersion(node.noor, "helper", 1, "x"),
        ):
            with pytest.raises(Forbidden):
                await node.ask(message)
        listed = await node.ask(ListAgents("ws_noor"))
        assert [agent.id for agent in listed.agents] == ["chad"]


async def test_what_is_everybodys_can_be_read_and_not_changed() -> None:
    async with running() as node:
        read = await node.ask(GetAgent("ws_mira", "chad"))
        assert (read.source, read.version, read.created_at) == (Source.GLOBAL, 1, None)
        page = await node.ask(ListVersions("ws_mira", "chad"))
        assert [(version.version, version.current) for version in page.versions] == [(1, True)]
        assert (await node.ask(GetVersion("ws_mira", "chad", 1))).document == read.document
        with pytest.raises(NotFound):
            await node.ask(GetVersion("ws_mira", "chad", 2))
        for message in (
            ReplaceAgent(node.mira, "chad", document()),
            DeleteAgent(node.mira, "chad"),
            RollBack(node.mira, "chad", 1),
            LabelVersion(node.mira, "chad", 1, "x"),
        ):
            with pytest.raises(Forbidden):
                await node.ask(message)


async def test_a_change_holds_for_the_next_turn_and_the_database_is_asked_only_once_in_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as node:
        await node.create()
        assert (await node.resolve()).description == ""
        node.store.tables.available = False
        assert (await node.resolve()).description == ""
        node.store.tables.available = True
        await node.ask(ReplaceAgent(node.mira, "helper", document(description="new")))
        assert (await node.resolve()).description == "new"
        await node.ask(RollBack(node.mira, "helper", 1))
        assert (await node.resolve()).description == ""
        node.store.tables.available = False
        await trio.sleep(MAX_AGE + 1)
        with pytest.raises(Unavailable):
            await node.resolve()
        node.store.tables.available = True
        await node.ask(DeleteAgent(node.mira, "helper"))
        with pytest.raises(NotFound):
            await node.resolve()


async def test_a_read_that_was_under_way_during_a_change_is_not_believed_afterwards() -> None:
    async with running() as node, trio.open_nursery() as nursery:
        await node.create(description="old")
        read, go_on = trio.Event(), trio.Event()
        find = node.store.agents.find

        async def find_slowly(workspace_id: str, agent_id: str) -> Agent | None:
            node.store.agents.find = find  # type: ignore[method-assign]
            found = await find(workspace_id, agent_id)
            read.set()
            await go_on.wait()
            return found

        node.store.agents.find = find_slowly  # type: ignore[method-assign]
        nursery.start_soon(node.resolve)
        await read.wait()
        await node.ask(ReplaceAgent(node.mira, "helper", document(description="new")))
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (await node.resolve()).description == "new"


async def test_a_rollback_is_a_new_version_that_says_where_it_is_from() -> None:
    async with running() as node:
        await node.create(description="one")
        for words in ("two", "three"):
            await node.ask(ReplaceAgent(node.mira, "helper", document(description=words)))
        back = await node.ask(RollBack(node.mira, "helper", 1))
        assert (back.version, back.document.description) == (4, "one")
        page = await node.ask(ListVersions("ws_mira", "helper"))
        assert [(v.version, v.label, v.current, v.created_by) for v in page.versions] == [
            (4, "rollback to version 1", True, "usr_mira"),
            (3, None, False, "usr_mira"),
            (2, None, False, "usr_mira"),
            (1, None, False, "usr_mira"),
        ]
        for version in (0, 5, 2**40):
            with pytest.raises(NotFound):
                await node.ask(RollBack(node.mira, "helper", version))
            with pytest.raises(NotFound):
                await node.ask(LabelVersion(node.mira, "helper", version, "x"))


async def test_a_rollback_to_what_can_no_longer_be_run_is_refused() -> None:
    async with running() as node:
        node.skills["research"] = ("web",)
        await node.create(skills=["research"])
        await node.ask(ReplaceAgent(node.mira, "helper", document()))
        node.skills.clear()
        with pytest.raises(Invalid, match="research"):
            await node.ask(RollBack(node.mira, "helper", 1))


async def test_a_change_of_what_somebody_else_has_changed_meanwhile_is_refused() -> None:
    async with running() as node:
        seen = (await node.create()).revision
        now = (await node.ask(ReplaceAgent(node.mira, "helper", document(description="a"), seen))).revision
        for message in (
            ReplaceAgent(node.mira, "helper", document(description="b"), seen),
            RollBack(node.mira, "helper", 1, seen),
            DeleteAgent(node.mira, "helper", seen),
        ):
            with pytest.raises(PreconditionFailed):
                await node.ask(message)
        await node.ask(DeleteAgent(node.mira, "helper", now))


async def test_agents_are_listed_by_id_and_by_page() -> None:
    async with running() as node:
        for agent_id in ("zoe", "bob"):
            await node.create(agent_id)
        whole = await node.ask(ListAgents("ws_mira"))
        assert ([agent.id for agent in whole.agents], whole.total) == (["bob", "chad", "zoe"], 3)
        page = await node.ask(ListAgents("ws_mira", limit=1, offset=1))
        assert ([agent.id for agent in page.agents], page.total) == (["chad"], 3)


async def test_every_change_leaves_a_line_in_the_audit_log() -> None:
    async with running() as node:
        await node.create()
        await node.ask(ReplaceAgent(node.mira, "helper", document(description="new")))
        await node.ask(LabelVersion(node.mira, "helper", 2, "stable"))
        await node.ask(RollBack(node.mira, "helper", 1))
        await node.ask(DeleteAgent(node.mira, "helper"))
        lines = await node.store.audit.of_user("usr_mira")
        assert [(line.event, line.metadata) for line in reversed(lines)] == [
            ("agent.created", {"version": 1}),
            ("agent.updated", {"version": 2}),
            ("agent.version_labelled", {"version": 2, "label": "stable"}),
            ("agent.rolled_back", {"from": 1, "version": 3}),
            ("agent.deleted", {"version": 3}),
        ]
        assert {(line.workspace_id, line.agent_id, line.request_id) for line in lines} == {
            ("ws_mira", "helper", "req_1")
        }


async def test_an_agent_that_this_version_cannot_read_takes_nobody_down() -> None:
    async with running() as node:
        broken = await node.create("broken")
        await node.create("whole")
        (row,) = [row for row in node.store.tables.agents.values() if row.id == broken.id]
        node.store.tables.agents[row.key] = attrs.evolve(
            row, current=attrs.evolve(row.current, config={**row.current.config, "tier": "gold"})
        )
        for message in (ResolveAgent("ws_mira", "broken"), GetAgent("ws_mira", "broken")):
            with pytest.raises(Conflict):
                await node.ask(message)
        listed = await node.ask(ListAgents("ws_mira"))
        assert [agent.id for agent in listed.agents] == ["chad", "whole"]
        mended = await node.ask(ReplaceAgent(node.mira, "broken", document()))
        assert mended.version == 2


async def test_without_the_tools_host_agents_can_be_read_and_run_but_not_changed() -> None:
    async with running(tools=False) as node:
        with pytest.raises(Unavailable):
            await node.create()
        assert (await node.resolve("chad")).id == "chad"
