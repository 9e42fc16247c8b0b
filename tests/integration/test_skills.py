"""A skill of one's own on a whole server: taught, used with its tools, changed in the middle of a turn, and broken."""

from pathlib import Path
from typing import Any

import msgspec
import trio

from tests.support.client import connect, operator_get, register
from tests.support.node import running_node
from tests.support.provider import Behaviour, StandIn, stand_in

SKILL = "---\nname: house\ndescription: d\ntools: [file_write, file_read, file_delete]\n---\n"
AGENT = {
    "id": "keeper",
    "model": {"provider": "openai", "modelId": "fake"},
    "systemPromptTemplate": "You keep the house.",
    "skills": ["house", "planning"],
    "tools": {"deny": ["file_delete", "calculator"]},
    "fileAccess": {"restricted": True, "allowedPaths": ["notes"]},
}


def writing(path: str, **more: Any) -> Behaviour:
    arguments = msgspec.json.encode({"path": path, "content": "remember the milk"}).decode()
    return Behaviour(tool_calls=(("file_write", arguments),), **more)


def told(provider: StandIn, at: int) -> str:
    system: str = provider.requests[at].body["messages"][0]["content"]
    return system


async def test_a_skill_is_taught_used_changed_and_broken_without_disturbing_a_turn(tmp_path: Path, pg_dsn: str) -> None:
    file = tmp_path / "data" / "skills" / "house" / "SKILL.md"
    file.parent.mkdir(parents=True)
    file.write_text(f"{SKILL}Keep to the OLD rules.")
    with trio.fail_after(110):
        async with (
            stand_in() as provider,
            running_node(tmp_path, database_url=pg_dsn, environment=provider.environment) as node,
            connect(node.url) as http,
        ):
            mira = await register(http)
            created = await http.post("/agents", json=AGENT, headers=mira.headers)
            assert created.status_code == 201, created.text
            unknown = {**AGENT, "id": "x", "skills": ["juggling"], "tools": {"allow": ["teleport", "shell_exec"]}}
            refused = await http.post("/agents", json=unknown, headers=mira.headers)
            assert [(detail["path"], detail["issue"]) for detail in refused.json()["details"]] == [
                ("tools.allow[0]", "unknown_tool"),
                ("tools.allow[1]", "unknown_tool"),  # there is a shell only where it is switched on
                ("skills[0]", "unknown_skill"),
            ]
            can = (await http.get("/agents/keeper/capabilities", headers=mira.headers)).json()
            assert can["skills"] == ["house", "planning"]
            assert [(tool["name"], tool["source"]) for tool in can["tools"]] == [
                ("file_write", "skill:house"),
                ("file_read", "skill:house"),
                ("datetime_now", "skill:planning"),
            ]

            async def skill() -> str:
                shown = (await http.get("/skills/house", headers=mira.headers)).json()
                return str(shown["instructions"])

            # The skill changes while the model thinks: the turn goes on with what it began with.
            provider.enqueue(writing("notes/milk.md", first_ms=3500), writing("../../out.md"), Behaviour(tokens=2))
            async with trio.open_nursery() as nursery:

                async def talk() -> None:
                    answer = await mira.chat("keep this", agentId="keeper")
                    assert (answer.status_code, answer.json()["toolsUsed"]) == (200, ["file_write"]), answer.text

                nursery.start_soon(talk)
                while not provider.requests:
                    await trio.sleep(0.01)
                file.write_text(f"{SKILL}Keep to the NEW rules.")
                while "NEW" not in await skill():
                    await trio.sleep(0.02)
                assert len(provider.requests) == 1
            assert [("OLD" in told(provider, at), "NEW" in told(provider, at)) for at in range(3)] == [
                (True, False)
            ] * 3
            offered = {tool["function"]["name"] for tool in provider.requests[0].body["tools"]}
            assert offered == {"datetime_now", "file_read", "file_write"}
            results = [m["content"] for m in provider.requests[2].body["messages"] if m["role"] == "tool"]
            assert results[0] == "notes/milk.md: written, 17 bytes"
            assert "must not lead upwards" in results[1]
            (written,) = (tmp_path / "data" / "workspaces").rglob("*.md")
            assert written.read_text() == "remember the milk"

            # A broken file changes nothing but what the operator is told.
            file.write_text("---\nname: [broken\n---\nNever.")
            while "not YAML" not in str(await operator_get(http, "/diagnostics/actors/tools/skills")):
                await trio.sleep(0.02)
            assert "NEW" in await skill()
            assert (await mira.chat("and now?", agentId="keeper")).status_code == 200
            system = told(provider, -1)
            assert "\n\nYou keep the house.\n\n# Skill: House\n\nKeep to the NEW rules.\n\n# Skill: Planning" in system

            while (metrics := (await http.get("/skills/house/metrics")).json())["calls"] < 2:
                await trio.sleep(0.05)
            assert (metrics["calls"], metrics["errors"]) == (2, 1)
            assert (await http.get("/metrics")).json()["skills"] == 8
