"""Agents from files on a whole server."""

from pathlib import Path

import trio

from tests.support.client import connect, register
from tests.support.node import running_node

TOML = """
[[agents]]
id = "librarian"
displayName = "The librarian"
systemPromptTemplate = "You keep the books of {{workspace.displayName}}."
tools = { allow = ["calculator"] }
flavour = "vanilla"
"""
YAML = """
settings: {timezone: UTC}
agents:
  - id: gardener
    systemPromptTemplate: You keep the garden.
    model: {temperature: 0.1}
"""


async def test_agents_of_understudy_toml_and_astra_yml_are_there_for_everybody(tmp_path: Path, pg_dsn: str) -> None:
    (tmp_path / "understudy.toml").write_text(TOML)
    (tmp_path / "astra.yml").write_text(YAML)
    with trio.fail_after(110):
        async with running_node(tmp_path, database_url=pg_dsn) as node, connect(node.url) as http:
            mira = await register(http)
            listed = (await http.get("/agents", headers=mira.headers)).json()["agents"]
            assert [(agent["id"], agent["source"]) for agent in listed] == [
                ("chad", "global"),
                ("gardener", "global"),
                ("librarian", "global"),
            ]
            assert listed[1]["model"]["modelId"] == "rehearsal"
            assert (await mira.chat("what is 6*7?", agentId="librarian")).json()["toolsUsed"] == ["calculator"]
            refused = await http.delete("/agents/librarian", headers=mira.headers)
            assert refused.status_code == 403
            assert "agents.librarian.flavour is not a field of an agent" in node.log
            assert "settings (astra.yml) is not read" in node.log


async def test_a_file_with_an_agent_that_cannot_be_run_keeps_the_server_from_starting_and_says_why(
    tmp_path: Path, pg_dsn: str
) -> None:
    (tmp_path / "understudy.toml").write_text('[[agents]]\nid = "x"\nsystemPromptTemplate = "{{#if y}}"\n')
    with trio.fail_after(110):
        async with running_node(tmp_path, database_url=pg_dsn, start=False) as node:
            node.spawn()
            assert node.process is not None
            assert await trio.to_thread.run_sync(node.process.wait) != 0
            assert "agents.x.systemPromptTemplate" in node.log
            assert "Traceback" not in node.log
