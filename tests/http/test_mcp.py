"""`/mcp` with the SDK's own client, over real sockets, real actors and a real database."""

import builtins
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
import trio
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.support.platform import Caller, Platform, serving_platform
from understudy.actors.outbound.guarded import GuardedClient
from understudy.actors.tools.builtin import builtin_tools
from understudy.actors.tools.desk import AT_ONCE, tool_desk_spec
from understudy.actors.tools.files import file_tools
from understudy.actors.tools.messages import DESK, ToolContext
from understudy.actors.tools.remembering import MemoryWrite, memory_tools
from understudy.actors.tools.tool import Arguments, Tool
from understudy.actors.tools.toolbox import Toolbox
from understudy.storage.pool import Pool
from understudy.storage.records import WorkspaceRole

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
TAKES = {"Accept": "application/json, text/event-stream"}


class Nothing(Arguments, frozen=True):
    pass


class Site:
    """The platform with a desk, and a tool that waits until it is cancelled."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.waiting = self.saved = 0

    async def save(self, arguments: Nothing, context: ToolContext) -> str:
        """Remembers something, and the first time never comes to say so."""
        (tool,) = (tool for tool in memory_tools(self.platform.system) if tool.name == "memory_write")
        text = await tool.run(MemoryWrite("Mira likes tea"), context)
        self.saved += 1
        if self.saved == 1:
            await trio.sleep_forever()
        return text

    async def wait(self, arguments: Nothing, context: ToolContext) -> str:
        del arguments, context
        self.waiting += 1
        try:
            await trio.sleep_forever()
        finally:
            self.waiting -= 1


@pytest.fixture
async def site(pool: Pool, tmp_path: Path) -> AsyncIterator[Site]:
    async with serving_platform(pool) as platform:
        found = Site(platform)
        tools = [
            *builtin_tools(GuardedClient()),
            *file_tools(tmp_path),
            *memory_tools(platform.system),
            Tool("wait", "Waits.", Nothing, found.wait),
            Tool("save", "Saves.", Nothing, found.save),
        ]
        await platform.system.spawn(tool_desk_spec(Toolbox(tools)), under="tools")
        yield found


@asynccontextmanager
async def talking(site: Site, who: Caller, mode: str = "auto") -> AsyncIterator[Client]:
    url = f"{site.platform.running.url}/mcp"
    async with (
        httpx2.AsyncClient(headers=who.headers, timeout=10) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def said(client: Client, tool: str, **arguments: Any) -> tuple[bool, str]:
    result = await client.call_tool(tool, arguments)
    (part,) = result.content
    assert isinstance(part, types.TextContent)
    return not result.is_error, part.text


@pytest.mark.parametrize(("mode", "protocol"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_tools_are_listed_and_called_in_either_era(site: Site, mode: str, protocol: str) -> None:
    async with talking(site, await site.platform.user(), mode) as client:
        assert client.protocol_version == protocol
        assert client.server_info is not None
        assert client.server_info.name == "understudy"
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["calculator"].input_schema["required"] == ["expression"]
        assert await said(client, "calculator", expression="6*7") == (True, "42")
        assert await said(client, "calculator", expression="6*") == (
            False,
            "not an arithmetic expression: invalid syntax",
        )
        assert "bad arguments for calculator" in (await said(client, "calculator", expression=7))[1]
        with pytest.raises(MCPError, match="Unknown tool: shell_exec"):
            await client.call_tool("shell_exec", {"command": "ls"})


async def test_a_keyed_call_whose_desk_was_killed_in_the_middle_is_done_once(site: Site) -> None:
    mira = await site.platform.user()
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "save", "arguments": {}}}
    answers: list[int] = []

    async def ask() -> None:
        answers.append((await mira.call("POST", "/mcp", call, X_Idempotency_Key="k1", **TAKES)).status_code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        while not site.saved:
            await trio.sleep(0.005)
        await site.platform.system.kill(DESK)
    assert answers == [503]
    while answers[-1] == 503:  # until there is a desk again
        await ask()
    assert (answers[-1], site.saved) == (200, 2)
    async with site.platform.pool.connection() as connection:
        ((remembered,),) = await (
            await connection.execute("SELECT count(*) FROM memory_entries WHERE uid = %s", (mira.uid,))
        ).fetchall()
    assert remembered == 1


async def test_people_reach_what_is_theirs_and_nothing_else(site: Site) -> None:
    mira, noor = await site.platform.user(), await site.platform.user()
    async with talking(site, mira) as hers, talking(site, noor) as his:
        assert (await said(hers, "memory_write", content="Mira likes tea"))[0]
        assert (await said(hers, "file_write", path="a.txt", content="hers"))[0]
        assert "tea" in (await said(hers, "memory_search", query="what does Mira like?"))[1]
        assert "tea" not in (await said(his, "memory_search", query="what does Mira like?"))[1]
        assert await said(hers, "file_read", path="a.txt") == (True, "hers")
        assert not (await said(his, "file_read", path="a.txt"))[0]


async def test_whoever_leaves_takes_the_call_along_and_nobody_has_more_than_a_few(site: Site) -> None:
    mira = await site.platform.user()
    async with talking(site, mira) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(partial(said, client, "wait"))
            while site.waiting < AT_ONCE:
                await trio.sleep(0.005)
            assert await said(client, "calculator", expression="1+1") == (False, "at most 4 calls at a time")
            nursery.cancel_scope.cancel()
        while site.waiting:
            await trio.sleep(0.005)
        assert (await said(client, "calculator", expression="1+1")) == (True, "2")
        assert (await site.platform.system.inspect(DESK))["running"] == []


async def test_who_is_let_in(site: Site) -> None:
    mira, noor = await site.platform.user(), await site.platform.user()
    viewer = await site.platform.member(mira, WorkspaceRole.VIEWER)

    async def status(**headers: str) -> int:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await site.platform.client.post("/mcp", json=CALL, headers=TAKES | given)).status_code

    assert await status(**mira.headers) == 200
    assert await status() == 401
    assert await status(**mira.headers, Origin="https://evil.example") == 403
    assert await status(**{**mira.headers, "X-Workspace-Id": noor.workspace_id}) == 403
    assert await status(**viewer.headers) == 403
    assert await status(**mira.headers, MCP_Protocol_Version="1999-01-01") == 400
    assert await status(**{**mira.headers, "Accept": "text/html"}) == 406
    for method in ("GET", "DELETE"):
        refused = await mira.call(method, "/mcp")
        assert (refused.status_code, refused.headers["allow"]) == (405, "OPTIONS, POST")
    told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    noted = await mira.client.post("/mcp", json=told, headers=mira.headers | TAKES)
    assert (noted.status_code, noted.content) == (202, b"")
    for content in (b"", b"{", b"[1]", b"null", b'{"jsonrpc": "2.0", "id": {}}'):
        headers = mira.headers | TAKES | {"Content-Type": "application/json"}
        assert (await mira.client.post("/mcp", content=content, headers=headers)).status_code == 400, content


async def test_without_the_extra_it_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    mira = await site.platform.user()
    monkeypatch.delitem(sys.modules, "understudy.http.mcp", raising=False)
    imported = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] in {"mcp", "mcp_types"}:
            raise ModuleNotFoundError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    refused = await mira.client.post("/mcp", json=CALL, headers=mira.headers)
    assert (refused.status_code, refused.json()["code"]) == (501, "NOT_IMPLEMENTED")
