"""The models that an agent's owner names for when the first one fails."""

import msgspec
import pytest

from understudy.actors.agents.checks import check_agent
from understudy.actors.agents.document import AgentDocument, config_of, from_json, to_json
from understudy.actors.errors import Invalid
from understudy.actors.inference.messages import ModelRef


def document(*fallbacks: tuple[str, str]) -> AgentDocument:
    named = [{"provider": provider, "modelId": model} for provider, model in fallbacks]
    model = {"provider": "openai", "modelId": "gpt", "fallbacks": named}
    return msgspec.convert({"model": model, "systemPromptTemplate": "Help."}, AgentDocument)


def test_fallbacks_survive_storage_and_reach_the_agent_that_is_run() -> None:
    kept = from_json(to_json(document(("anthropic", "claude-x"), ("mycompany", "large"))))
    assert config_of("ops", kept, ()).fallbacks == (ModelRef("claude", "claude-x"), ModelRef("mycompany", "large"))
    assert config_of("ops", document(), ()).fallbacks == ()


def test_an_agent_may_be_given_time_to_think() -> None:
    model = {"provider": "claude", "modelId": "x", "thinkingTokens": 4096}
    thinker = msgspec.convert({"model": model, "systemPromptTemplate": "Help."}, AgentDocument)
    assert config_of("ops", from_json(to_json(thinker)), ()).thinking_tokens == 4096
    assert config_of("ops", document(), ()).thinking_tokens is None


def test_a_fallback_at_an_unknown_provider_is_refused_by_its_place() -> None:
    with pytest.raises(Invalid, match="there is no provider 'acme'") as caught:
        check_agent("ops", document(("groq", "x"), ("acme", "y")), providers=(), tools=(), skills=())
    assert [detail.path for detail in caught.value.details] == ["model.fallbacks[1].provider"]


def test_there_are_at_most_five() -> None:
    with pytest.raises(msgspec.ValidationError, match="length <= 5"):
        document(*[("groq", "x")] * 6)
