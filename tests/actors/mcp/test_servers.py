"""MCP servers over pipes, on the real kernel: what they offer, what they answer, and what becomes of the bad ones."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
import trio

from tests.actors.mcp.stage import PATIENCE, QUICK, SCRIPT, node
from understudy.actors.mcp.messages import LinkState, server_address
from understudy.actors.tools.messages import ToolResult


def group(pid: int) -> list[int]:
    """Who lives in the process group; those that wait for whoever adopted them to take notice do not."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = file.read_text().rpartition(")")[2].split()[:3]
            if int(of) == pid and state != "Z":
                found.append(int(file.parent.name))
    return found


async def test_its_tools_are_offered_under_names_that_providers_take_and_answer() -> None:
    async with node() as lab:
        state = await lab.until(LinkState.CONNECTED)
        assert (state.peer, state.protocol, state.transport) == ("scripted 1", "2025-11-25", "stdio")
        assert [each.tool for each in state.left_out] == ["broken", "endless"]
        assert "'flob' is not valid" in state.left_out[0].why
        specs = {spec.name: spec for spec in lab.box.specs()}
        assert set(specs) == set(state.tools)
        odd = next(name for name in specs if "odd_name" in name)
        assert len(odd) == 64
        assert odd.startswith("mcp__lab__a_tool_with_an_odd_name")
        assert specs["mcp__lab__echo"].parameters["required"] == ["text"]
        assert (await lab.call("echo", text="ab", times=2)).content == "abab"
        assert (await lab.call(odd.removeprefix("mcp__lab__"))).content.startswith("what is a tool/with.an odd name")
        assert (await lab.call("pictures")).content == (
            "[an image, image/png, 3 bytes: not shown]\n[a resource: file:///a]\nof b"
        )
        assert "mcp__lab__echo" in lab.library.names()
        assert (await lab.system.inspect(server_address("lab")))["state"] == "connected"
        tree = lab.system.node(server_address("lab"))
        assert tree is not None
        assert tree.status == f"connected, {len(specs)} tools"


async def test_arguments_are_held_to_its_schema_and_failures_are_results() -> None:
    async with node() as lab:
        await lab.until(LinkState.CONNECTED)
        for arguments, told in (
            ({}, "'text' is a required property"),
            ({"text": 1}, "$.text: 1 is not of type 'string'"),
            ({"text": "x" * 21}, "is too long"),
            ({"text": "a", "more": 1}, "'more' was unexpected"),
        ):
            result = await lab.call("echo", **arguments)
            assert not result.ok
            assert told in result.content
        assert (await lab.call("echo", text="b")).ok  # its regular expressions are its own business
        failed = await lab.call("fail")
        assert (failed.ok, failed.content) == (False, "no such file")
        assert "breaks the protocol" in (await lab.call("nonsense")).content
        assert (await lab.call("noise")).content == "all the same"
        assert (await lab.state()).state is LinkState.CONNECTED


async def test_it_finds_nothing_of_ours_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    async with node(env={"TOKEN": "its own"}) as lab:
        await lab.until(LinkState.CONNECTED)
        environment = json.loads((await lab.call("env")).content)
        assert environment["TOKEN"] == "its own"
        assert "secret" not in environment.values()


async def test_a_server_that_dies_in_a_call_fails_it_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    async with node() as lab:
        await lab.until(LinkState.CONNECTED)
        first = await lab.pid()
        result = await lab.call("die")
        assert not result.ok
        assert "the connection was lost" in result.content
        await lab.until(LinkState.CONNECTED, after=0)
        assert "ended with status 3: I have had enough" in caplog.text
        assert not group(first)
        assert (await lab.call("echo", text="a")).content == "a"


async def test_while_it_is_away_its_tools_are_not_offered_but_known(tmp_path: Path) -> None:
    missing = tmp_path / "server"
    async with node(command=(str(missing),)) as lab:
        away = await lab.until(LinkState.AWAY, after=2)
        assert "cannot be started" in (away.problem or "")
        missing.write_text(f"#!/bin/sh\nexec {' '.join(SCRIPT)}\n")
        missing.chmod(0o700)
        await lab.until(LinkState.CONNECTED)
        missing.unlink()
        assert not (await lab.call("die")).ok
        await lab.until(LinkState.AWAY)
        assert lab.box.specs() == ()
        assert "mcp__lab__echo" in lab.library.names()
        result = await lab.call("echo", text="a")
        assert (result.ok, "is away" in result.content) == (False, True)


async def test_new_tools_are_noticed_when_it_tells_of_them() -> None:
    async with node() as lab:
        await lab.until(LinkState.CONNECTED)
        assert (await lab.call("grow")).ok
        while "mcp__lab__grown" not in (await lab.state()).tools:
            await trio.sleep(0.005)


async def test_a_cancelled_call_is_quiet_at_once_and_the_server_is_told() -> None:
    async with node() as lab:
        await lab.until(LinkState.CONNECTED)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lab.call, "hang")
            await lab.hanging()
            nursery.cancel_scope.cancel()
            left = trio.current_time()
        assert trio.current_time() - left < 5
        assert json.loads((await lab.call("cancelled")).content) == ["caller cancelled"]


async def test_a_tool_that_takes_too_long_is_stopped_and_a_server_that_reads_no_more_holds_nobody_up() -> None:
    patience = attrs.evolve(PATIENCE, answer=0.2)
    pace = attrs.evolve(QUICK, ping_every=1.0)  # not before the call
    async with node("deaf", patience=patience, pace=pace, timeout=0.1) as lab:
        await lab.until(LinkState.CONNECTED)
        result = await lab.call("echo", text="a")
        assert (result.ok, result.content) == (False, "mcp__lab__echo took longer than 0.1 s and was stopped")
        away = await lab.until(LinkState.AWAY)
        assert away.problem == "it did not answer a ping: no answer within 0.2 s"


async def test_a_hundred_megabytes_are_not_held(caplog: pytest.LogCaptureFixture) -> None:
    async with node() as lab:
        await lab.until(LinkState.CONNECTED)
        result = await lab.call("flood")
        assert (result.ok, "connection was lost" in result.content) == (False, True)
        await lab.until(LinkState.CONNECTED, after=0)
        assert "more than 4194304 bytes" in caplog.text


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        ("dies", "its process ended with status 7: no licence"),
        ("hangs", "it did not say who it is within 0.3 s"),
        ("babbles", "no messages of the protocol"),
        ("screams", "a message of more than 4194304 bytes"),
    ],
)
async def test_one_that_never_comes_to_the_point_is_away_and_tried_again(mode: str, problem: str) -> None:
    async with node(mode, patience=attrs.evolve(PATIENCE, connect=0.3 if mode == "hangs" else 10)) as lab:
        assert problem in ((await lab.until(LinkState.AWAY, after=0)).problem or "")
        assert lab.box.specs() == ()


@pytest.mark.parametrize("how", ["stop", "kill", "killed process"])
async def test_no_process_is_left_behind(how: str) -> None:
    async with node() as lab:
        await lab.until(LinkState.CONNECTED)
        server = await lab.pid()
        if how == "stop":
            await lab.system.stop()
        elif how == "kill":
            await lab.system.kill(server_address("lab"))
        else:
            os.kill(server, signal.SIGKILL)
        while group(server):
            await trio.sleep(0.005)
        if how != "stop":
            # The loss of a connection is counted, and a new actor counts anew.
            await lab.until(LinkState.CONNECTED, after=0 if how == "killed process" else -1)
            assert (await lab.call("echo", text="a")).ok


async def test_the_crash_of_its_actor_fails_its_calls_and_no_others() -> None:
    async with node() as lab:
        await lab.until(LinkState.CONNECTED)
        async with trio.open_nursery() as nursery:
            results: list[ToolResult] = []

            async def hang() -> None:
                results.append(await lab.call("hang"))

            nursery.start_soon(hang)
            await lab.hanging()
            await lab.system.kill(server_address("lab"))
        assert [result.ok for result in results] == [False]
        await lab.until(LinkState.CONNECTED)
        assert (await lab.call("echo", text="a")).ok
