"""What a user tells an agent on a whole server, with no key and no network, is known in another conversation."""

from pathlib import Path

import trio

from tests.support.client import connect, register
from tests.support.node import INTERNAL_KEY, running_node
from tests.support.provider import stand_in


async def test_what_is_told_in_one_session_is_known_in_the_next_also_after_a_crash(tmp_path: Path, pg_dsn: str) -> None:
    with trio.fail_after(110):
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


async def test_what_is_said_in_passing_is_learned_after_the_answer(tmp_path: Path, pg_dsn: str) -> None:
    said = "Hi! My name is Mira and I prefer green tea. We decided to deploy on Tuesdays. Anna works for Acme."
    environment = {"UNDERSTUDY_MEMORY_EXTRACTION": "model"}
    with trio.fail_after(110):
        async with (
            running_node(tmp_path, database_url=pg_dsn, environment=environment) as node,
            connect(node.url) as http,
        ):
            mira = await register(http)
            assert (await mira.chat(said)).json()["toolsUsed"] == []

            async def found(words: str) -> list[dict[str, object]]:
                asked = await http.get("/agent/memory/search", params={"q": words}, headers=mira.headers)
                return [hit for hit in asked.json()["results"] if hit["tier"] != "session"]

            while not await found("deploy Tuesdays"):
                await trio.sleep(0.05)
            assert [(hit["tier"], hit["category"]) for hit in await found("deploy Tuesdays")] == [("daily", "decision")]
            assert [hit["tier"] for hit in await found("Anna")] == ["graph", "graph"]
            profile = (await http.get("/agent/memory/profile", headers=mira.headers)).json()["profile"]
            assert profile == {"name": "Mira"}
            known = (await mira.chat("what did I decide about deploys?", surfaceId="another")).json()
            assert "deploy on Tuesdays" in known["content"]


async def test_a_memory_profile_hides_a_remembered_decision(tmp_path: Path, pg_dsn: str) -> None:
    with trio.fail_after(110):
        async with running_node(tmp_path, database_url=pg_dsn) as node, connect(node.url) as http:
            mira = await register(http)
            await mira.chat("remember that we decided to deploy on Tuesdays")
            asked = "what did I decide about deploys?"
            assert "Tuesdays" in (await mira.chat(asked, surfaceId="b")).json()["content"]
            config = {"tiersEnabled": {"daily": False}}
            body = {"name": "no days", "config": config}
            made = await http.post("/memory-profiles", json=body, headers=mira.headers)
            path = "/memory-profiles/agents/chad/memory-profile"
            await http.put(path, json={"profileId": made.json()["id"]}, headers=mira.headers)
            hidden = (await mira.chat(asked, surfaceId="c")).json()
            assert hidden["toolsUsed"] == ["memory_search"]
            assert "Tuesdays" not in hidden["content"]


async def test_a_prompt_that_asks_is_told_what_is_remembered_of_the_user(tmp_path: Path, pg_dsn: str) -> None:
    agent = {
        "id": "valet",
        "model": {"provider": "openai", "modelId": "fake"},
        "systemPromptTemplate": "Serve {{user.profile.name}}.{{#if memory}} Know:\n{{memory}}{{/if}}",
        "tools": {"allow": ["memory_search"]},
    }
    with trio.fail_after(110):
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
