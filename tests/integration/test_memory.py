"""What a user tells an agent on a whole server, with no key and no network, is known in another conversation."""

from pathlib import Path

import trio

from tests.support.client import connect, register
from tests.support.node import INTERNAL_KEY, running_node
from tests.support.provider import stand_in


async def test_what_is_told_in_one_session_is_known_in_the_next_also_after_a_crash(tmp_path: Path, pg_dsn: str) -> None:
    with trio.fail_after(60):
        async with running_node(tmp_path, database_url=pg_dsn) as node, connect(node.url) as http:
            mira, noor = await register(http), await register(http)
            told = (await mira.chat("what is 23*19, and remember that I like tea")).json()
            assert told["toolsUsed"] == ["calculator", "memory_write"]
            assert "437" in told["content"]

            node.kill()
            await node.start()
            known = (await mira.chat("what do I like?", surfaceId="another")).json()
            assert known["sessionId"] != told["sessionId"]
            assert known["toolsUsed"] == ["memory_search"]
            assert "I like tea" in known["content"]

            stranger = (await noor.chat("what do I like?")).json()
            assert stranger["toolsUsed"] == ["memory_search"]
            assert "tea" not in stranger["content"]

            (day,) = (await http.get("/agent/memory/daily", headers=mira.headers)).json()["days"]
            (entry,) = day["entries"]
            assert (entry["content"], entry["category"]) == ("I like tea", "note")
            gone = await http.delete(f"/agent/memory/daily/{day['date']}/{entry['id']}", headers=mira.headers)
            assert gone.json() == {"deleted": True, "remaining": 0}
            forgotten = (await mira.chat("what do I like?", surfaceId="a third")).json()
            assert "tea" not in forgotten["content"]


async def test_a_prompt_that_asks_is_told_what_is_remembered_of_the_user(tmp_path: Path, pg_dsn: str) -> None:
    agent = {
        "id": "valet",
        "model": {"provider": "openai", "modelId": "fake"},
        "systemPromptTemplate": "Serve {{user.profile.name}}.{{#if memory}} Know:\n{{memory}}{{/if}}",
        "tools": {"allow": ["memory_search"]},
    }
    with trio.fail_after(60):
        async with stand_in() as provider:
            environment = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": provider.base_url}
            async with (
                running_node(tmp_path, database_url=pg_dsn, environment=environment) as node,
                connect(node.url) as http,
            ):
                mira = await register(http)
                assert (await http.post("/agents", json=agent, headers=mira.headers)).status_code == 201
                await http.post("/agent/memory/notes", json={"note": "Tea at four"}, headers=mira.headers)
                await http.put("/agent/memory/profile", json={"name": "Mira"}, headers=mira.headers)
                assert (await mira.chat("bring me tea", agentId="valet")).status_code == 200
                system = provider.requests[-1].body["messages"][0]["content"]
                assert '\n\nServe Mira. Know:\nWhat is known of the user: {"name":"Mira"}\n- ' in system
                assert "- Tea at four (note, " in system
                await http.post("/diagnostics/actors/memory/suspend", headers={"X-Api-Key": INTERNAL_KEY})
                assert (await mira.chat("and now?", agentId="valet")).status_code == 200
                assert "\n\nServe ." in provider.requests[-1].body["messages"][0]["content"]
