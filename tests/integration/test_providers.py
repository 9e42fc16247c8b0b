"""Providers as a user and an operator of a whole server meet them."""

from pathlib import Path

import pytest
import trio

from tests.support.client import connect, operator_get, register
from tests.support.node import running_node
from tests.support.provider import Behaviour, StandIn, stand_in

CALL = Behaviour(tool_calls=(("calculator", '{"expression": "23*19"}'),))
LEAVE_ME = Behaviour(status=529, retry_after="3600")
"""Overloaded, and for so long that nobody waits: one request, one failure."""


def environment_of(name: str, provider: StandIn) -> dict[str, str]:
    """What points a server at the stand-in, as the named provider's own tools would have it."""
    root = provider.base_url.removesuffix("/v1")
    if name == "claude":
        return {"ANTHROPIC_API_KEY": "sk-ant-x", "ANTHROPIC_BASE_URL": root, "UNDERSTUDY_MODEL": "claude/fake"}
    return {"GEMINI_API_KEY": "AIza-x", "GEMINI_BASE_URL": root, "UNDERSTUDY_MODEL": "gemini/gemini-3-fake"}


@pytest.mark.parametrize("name", ["claude", "gemini"])
async def test_an_agent_calculates_then_its_provider_fails_until_it_is_left_alone(
    name: str, tmp_path: Path, pg_dsn: str
) -> None:
    with trio.fail_after(110):
        async with (
            stand_in() as provider,
            running_node(tmp_path, database_url=pg_dsn, environment=environment_of(name, provider)) as node,
            connect(node.url) as http,
        ):
            client = await register(http)
            provider.enqueue(CALL, Behaviour(text="It is 437."))
            answer = (await client.chat("what is 23*19?")).json()
            assert (answer["content"], answer["toolsUsed"]) == ("It is 437.", ["calculator"])
            assert answer["usage"] == {"promptTokens": 18, "completionTokens": 24, "totalTokens": 42, "cachedTokens": 6}
            assert (answer["model"], answer["finishReason"]) == (f"{name}/fake", "stop")
            assert "437" in str(provider.requests[1].body), "the tool's result went to the model"

            provider.enqueue(Behaviour(tokens=4, gap_ms=1, cut_after=2))
            cut = await client.chat("and now?")
            assert (cut.status_code, cut.json()["code"]) == (502, "PROVIDER_ERROR")
            kept = (await client.session(answer["sessionId"]))["messages"][-1]
            assert (kept["content"], kept["status"]) == ("tok0 tok1 ", "failed")

            provider.default = LEAVE_ME
            for _ in range(4):
                assert (await client.chat("hello?")).status_code == 502
            asked = len(provider.requests)
            alone = await client.chat("hello?")
            assert (alone.status_code, alone.json()["code"]) == (503, "CIRCUIT_OPEN")
            assert 0 < int(alone.headers["retry-after"]) <= 60
            assert len(provider.requests) == asked
            shown = await operator_get(http, "/diagnostics/circuit-breakers")
            breaker = next(one for one in shown["breakers"] if one["provider"] == name)
            assert (breaker["state"], breaker["failures"]) == ("open", 5)
            assert breaker["openedAt"] < breaker["nextAttemptAt"]
            assert breaker["lastError"].startswith(f"{name} is overloaded (529)")
            assert {one["state"] for one in shown["breakers"] if one["provider"] != name} == {"closed"}
        assert "circuit opened" in node.log


async def test_an_agents_fallback_answers_for_a_provider_that_is_down_and_its_endpoint_is_guarded(
    tmp_path: Path, pg_dsn: str
) -> None:
    with trio.fail_after(110):
        async with stand_in(LEAVE_ME) as down, stand_in(Behaviour(text="at your service")) as up:
            environment = {
                **environment_of("claude", up),
                "OPENAI_API_KEY": "sk-x",
                "OPENAI_BASE_URL": down.base_url,
                "UNDERSTUDY_MODEL": "openai/fake",
            }
            async with (
                running_node(tmp_path, database_url=pg_dsn, environment=environment) as node,
                connect(node.url) as http,
            ):
                client = await register(http)

                async def make(name: str, **model: object) -> None:
                    body = {
                        "id": name,
                        "model": {"provider": "openai", "modelId": "gpt", **model},
                        "systemPromptTemplate": "Help.",
                    }
                    made = await http.post("/agents", json=body, headers=client.headers)
                    assert made.status_code == 201, made.text

                await make("careful", fallbacks=[{"provider": "anthropic", "modelId": "claude-x"}])
                for _ in range(7):  # before and after the circuit has opened
                    answer = (await client.chat("hi", agentId="careful")).json()
                    assert (answer["content"], answer["model"]) == ("at your service", "claude/fake")
                assert len(down.requests) == 5
                assert up.requests[0].body["model"] == "claude-x"

                await make("curious", endpoint=up.base_url)
                refused = await client.chat("hi", agentId="curious")
                assert (refused.status_code, refused.json()["code"]) == (502, "PROVIDER_ERROR")
                assert "may not be asked" in refused.json()["error"]
                assert len(up.requests) == 7
