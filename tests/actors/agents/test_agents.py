"""The agents that come with the node."""

import pytest

from understudy.actors.agents.actor import agents_spec
from understudy.actors.agents.builtin import chad
from understudy.actors.agents.messages import AGENTS, ListAgents, ResolveAgent
from understudy.actors.errors import NotFound
from understudy.runtime import ActorSystem


async def test_chad_speaks_through_the_configured_model_in_every_workspace() -> None:
    async with ActorSystem("test") as system:
        await system.spawn(agents_spec("openrouter/meta/llama-4"))
        for workspace_id in ("ws_1", "ws_2"):
            agent = await system.ask(AGENTS, ResolveAgent(workspace_id, "chad"))
            assert (agent.provider, agent.model_id) == ("openrouter", "meta/llama-4")
            assert set(agent.tools) == {"datetime_now", "calculator", "http_get"}
            assert await system.ask(AGENTS, ListAgents(workspace_id)) == (agent,)


@pytest.mark.parametrize("agent_id", ["", "Chad", "nobody", "chad ", "x" * 10_000])
async def test_an_unknown_agent_is_not_found(agent_id: str) -> None:
    async with ActorSystem("test") as system:
        await system.spawn(agents_spec("builtin/rehearsal"))
        with pytest.raises(NotFound):
            await system.ask(AGENTS, ResolveAgent("ws_1", agent_id))


@pytest.mark.parametrize("model", ["", "gpt", "/gpt", "openai/"])
def test_a_model_is_named_with_its_provider(model: str) -> None:
    with pytest.raises(ValueError, match="provider/model"):
        chad(model)
