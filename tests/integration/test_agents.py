"""Agents of one's own on a whole server: talked to, changed in the middle, and there again after a crash."""

from pathlib import Path
from typing import Any

import trio

from tests.support.client import connect, operator_post, register
from tests.support.node import running_node
from tests.support.provider import StandIn, stand_in

AGENT = {
    "id": "ops-helper",
    "model": {"provider": "openai", "modelId": "special", "temperature": 0.25, "maxOutputTokens": 99},
    "systemPromptTemplate": "You are {{agent.displayName}} of {{workspace.displayName}} for {{user.id}}. {{date}}",
    "tools": {"allow": ["calculator", "datetime_now"], "deny": ["datetime_now"]},
}


def asked(provider: StandIn) -> dict[str, Any]:
    """What the provider was last asked."""
    request = provider.requests[-1]
    body: dict[str, Any] = request.body
    return body


async def test_an_agent_is_talked_to_as_it_is_at_the_time_and_survives_the_server(tmp_path: Path, pg_dsn: str) -> None:
    with trio.fail_after(90):
        async with (
            stand_in() as provider,
            running_node(tmp_path, database_url=pg_dsn, environment=provider.environment) as node,
            connect(node.url) as http,
        ):
            mira, noor = await register(http), await register(http)
            created = await http.post("/agents", json=AGENT, headers=mira.headers)
            assert created.status_code == 201, created.text

            assert (await mira.chat("hello", agentId="ops-helper")).status_code == 200
            body = asked(provider)
            assert (body["model"], body["temperature"]) == ("special", 0.25)
            assert [tool["function"]["name"] for tool in body["tools"]] == ["calculator"]
            system = body["messages"][0]["content"]
            (workspace,) = (await http.get("/workspaces", headers=mira.headers)).json()["workspaces"]
            assert system.startswith("# House rules")
            assert f"\n\nYou are ops-helper of {workspace['name']} for {mira.uid}. " in system
            assert "{{" not in system

            changed = {**AGENT, "displayName": "Olga", "tools": {}}
            tag = created.headers["etag"]
            answer = await http.put("/agents/ops-helper", json=changed, headers=mira.headers | {"If-Match": tag})
            assert answer.status_code == 200, answer.text
            assert (await operator_post(http, "/diagnostics/actors/agents/kill")).status_code == 200
            assert (await mira.chat("and now?", agentId="ops-helper")).status_code == 200
            assert "\n\nYou are Olga of " in asked(provider)["messages"][0]["content"]
            assert "tools" not in asked(provider)

            refused = await noor.chat("let me in", agentId="ops-helper")
            assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")

            node.kill()
            await node.start()
            assert (await mira.chat("still there?", agentId="ops-helper")).status_code == 200
            assert "\n\nYou are Olga of " in asked(provider)["messages"][0]["content"]
            read = await http.get("/agents/ops-helper", headers=mira.headers)
            assert (read.json()["version"], read.headers["etag"]) == (2, answer.headers["etag"])

            assert (await http.delete("/agents/ops-helper", headers=mira.headers)).status_code == 204
            gone = await mira.chat("hello?", agentId="ops-helper")
            assert (gone.status_code, gone.json()["code"]) == (404, "NOT_FOUND")
            sessions = (await http.get("/sessions?agentId=ops-helper", headers=mira.headers)).json()
            assert sessions["total"] == 1
