"""An MCP server from the package index on a whole server: used in a turn, killed in the middle of one, and back."""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import trio

from tests.support.client import connect, operator_get, register
from tests.support.node import running_node
from tests.support.provider import Behaviour, StandIn, stand_in

SCRIPT = Path(__file__).parents[1] / "support" / "mcp_server.py"
AGENT = {
    "id": "keeper",
    "model": {"provider": "openai", "modelId": "fake"},
    "systemPromptTemplate": "You know the time.",
    "tools": {"allow": ["mcp__time__*", "mcp__lab__hang", "calculator"], "deny": ["mcp__time__convert_time"]},
}


def calling(tool: str, **arguments: Any) -> Behaviour:
    return Behaviour(tool_calls=((tool, json.dumps(arguments)),))


def results(provider: StandIn) -> list[str]:
    return [m["content"] for m in provider.requests[-1].body["messages"] if m["role"] == "tool"]


def children_of(pid: int) -> dict[int, str]:
    """The processes below *pid*, by their commands."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():  # a child is its thread's
        with suppress(OSError):  # the thread has ended
            for child in (task / "children").read_text().split():
                with suppress(OSError):  # so has the child
                    found[int(child)] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def pid_of(parent: int, last_word: str) -> int | None:
    """The child whose command ends so."""
    for pid, command in children_of(parent).items():
        if command.split()[-1:] == [last_word]:
            return pid
    return None


def is_gone(pid: int) -> bool:
    """Whether the process has ended, though nobody may have asked how yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_an_agent_uses_a_real_server_which_dies_in_the_middle_and_comes_back(tmp_path: Path, pg_dsn: str) -> None:
    (tmp_path / "understudy.toml").write_text(
        f"""
        [mcp.servers.time]
        command = ["{sys.executable}", "-m", "mcp_server_time", "--local-timezone", "UTC"]
        [mcp.servers.lab]
        command = ["{sys.executable}", "-I", "{SCRIPT}"]
        """
    )
    with trio.fail_after(90):
        async with (
            stand_in() as provider,
            running_node(tmp_path, database_url=pg_dsn, environment=provider.environment) as node,
            connect(node.url) as http,
        ):
            assert node.process is not None
            mira = await register(http)
            created = await http.post("/agents", json=AGENT, headers=mira.headers)
            assert created.status_code == 201, created.text  # whether the servers are there yet or not
            unknown = {**AGENT, "id": "x", "tools": {"allow": ["mcp__clock__now", "mcp__*", "mcp__time__"]}}
            refused = await http.post("/agents", json=unknown, headers=mira.headers)
            assert [detail["issue"] for detail in refused.json()["details"]] == ["unknown_tool"] * 3

            async def state(server: str) -> str:
                return str(await operator_get(http, f"/diagnostics/actors/mcp/{server}"))

            while "connected, 2 tools" not in await state("time"):
                await trio.sleep(0.05)
            report = await operator_get(http, "/diagnostics?full=true")
            check = next(check for check in report["checks"] if check["name"] == "mcp.time")
            assert check["status"] == "pass"
            assert "mcp-time" in check["message"]

            can = (await http.get("/agents/keeper/capabilities", headers=mira.headers)).json()
            assert {tool["name"] for tool in can["tools"]} == {
                "mcp__time__get_current_time",
                "mcp__lab__hang",
                "calculator",
            }
            provider.enqueue(calling("mcp__time__get_current_time", timezone="Asia/Tokyo"), Behaviour(tokens=2))
            answer = await mira.chat("what time is it?", agentId="keeper")
            assert answer.json()["toolsUsed"] == ["mcp__time__get_current_time"]
            assert '"timezone": "Asia/Tokyo"' in results(provider)[0]

            # Killed in the middle of a call: the turn is told, and goes on.
            lab, clock = pid_of(node.process.pid, str(SCRIPT)), pid_of(node.process.pid, "UTC")
            assert lab is not None
            assert clock is not None
            provider.enqueue(calling("mcp__lab__hang"), calling("calculator", expression="6*7"), Behaviour(tokens=2))
            async with trio.open_nursery() as nursery:

                async def talk() -> None:
                    answer = await mira.chat("wait", agentId="keeper")
                    assert answer.status_code == 200
                    assert answer.json()["toolsUsed"] == ["mcp__lab__hang", "calculator"]

                nursery.start_soon(talk)
                while "hanging" not in node.log:
                    await trio.sleep(0.02)
                os.kill(lab, signal.SIGKILL)
            assert "the connection was lost" in results(provider)[-2]
            assert results(provider)[-1] == "42"
            while pid_of(node.process.pid, str(SCRIPT)) in {None, lab} or "connected" not in await state("lab"):
                await trio.sleep(0.05)

            # The real one, too; it comes back and is used again.
            os.kill(clock, signal.SIGKILL)
            while pid_of(node.process.pid, "UTC") in {None, clock} or "connected" not in await state("time"):
                await trio.sleep(0.05)
            provider.enqueue(calling("mcp__time__get_current_time", timezone="Europe/Berlin"), Behaviour(tokens=2))
            await mira.chat("and now?", agentId="keeper")
            assert '"timezone": "Europe/Berlin"' in results(provider)[-1]

            # And the other way round: somebody's own client talks to an agent, over our /mcp.
            async def chat(message: str) -> Any:
                call = {"name": "chat", "arguments": {"message": message, "agent": "keeper"}}
                asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
                headers = mira.headers | {"Accept": "application/json, text/event-stream"}
                return (await http.post("/mcp", json=asked, headers=headers)).json()["result"]

            provider.enqueue(Behaviour(tokens=2))
            answered = await chat("hello")
            assert (answered["isError"], bool(answered["content"][0]["text"])) == (False, True)
            provider.enqueue(Behaviour(stall_head=True))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chat, "wait")
                while "wait" not in str(provider.requests[-1].body["messages"][-1]):
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            while not provider.connections[-1].closed_by_peer:  # whoever leaves takes the turn along
                await trio.sleep(0.01)

            last = children_of(node.process.pid)
            assert await node.stop() == 0
            while not all(is_gone(pid) for pid in last):
                await trio.sleep(0.01)
