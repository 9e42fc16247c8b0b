"""The command against a whole server: what a person at a terminal would try."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from tests.support.node import INTERNAL_KEY, Node, running_node
from tests.support.provider import Behaviour, StandIn, stand_in

EMAIL, PASSWORD = "mira@example.org", "correct horse"


def environment(node: Node, home: Path) -> dict[str, str]:
    return {
        **node.environment,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "UNDERSTUDY_URL": node.url,
        "UNDERSTUDY_EMAIL": EMAIL,
        "UNDERSTUDY_PASSWORD": PASSWORD,
        "PYTHONUNBUFFERED": "1",
    }


def speaking_through(provider: StandIn) -> dict[str, str]:
    return {"OPENAI_BASE_URL": provider.base_url, "UNDERSTUDY_MODEL": "openai/fake"}


async def understudy(env: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(
        [sys.executable, "-m", "understudy", *words],
        stdin=b"",
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=env,
    )


class Lines:
    """What a running command prints, line by line."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._rest = b""
        self.seen: list[str] = []

    async def wait_for(self, *parts: str) -> str:
        """The next line that holds all *parts*."""
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                self.seen.append(line.decode())
                if all(part in self.seen[-1] for part in parts):
                    return self.seen[-1]
            chunk = await self._stream.receive_some()
            assert chunk, f"it ended without a line with {parts}: {self.seen}"
            self._rest += chunk

    async def rest(self) -> list[str]:
        """Everything that was printed, to the end."""
        chunks = b"".join([chunk async for chunk in self._stream])
        self.seen.extend((self._rest + chunks).decode().splitlines())
        self._rest = b""
        return self.seen


@asynccontextmanager
async def running(env: Mapping[str, str], *words: str) -> AsyncGenerator[tuple[trio.Process, Lines]]:
    """A command that goes on, and what it prints; ended with the block."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "understudy", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=env,
    )
    assert process.stdout is not None
    try:
        async with process.stdout:
            yield process, Lines(process.stdout)
    finally:
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.kill()
            await process.wait()


async def test_a_chat_survives_the_death_of_the_server_and_shows_each_event_once(tmp_path: Path, pg_dsn: str) -> None:
    with trio.fail_after(90):
        async with (
            stand_in(Behaviour(tokens=400, gap_ms=20)) as provider,
            running_node(tmp_path / "node", database_url=pg_dsn, environment=speaking_through(provider)) as node,
            running(environment(node, tmp_path), "chat", "--register", "--json", "a long story") as (process, lines),
        ):
            await lines.wait_for('"content"', ':9"')
            node.kill()
            await node.start()
            events = [json.loads(line) for line in await lines.rest()]
            assert await process.wait() == 1
    numbers = [int(event["id"].rpartition(":")[2]) for event in events]
    assert numbers == list(range(1, len(numbers) + 1))
    assert (events[-1]["event"], events[-1]["data"]["code"]) == ("error", "INTERRUPTED")


async def test_an_interrupt_stops_the_turn_and_the_provider_before_the_command_ends(
    tmp_path: Path, pg_dsn: str
) -> None:
    with trio.fail_after(110):
        async with (
            stand_in(Behaviour(tokens=10_000, gap_ms=5)) as provider,
            running_node(tmp_path / "node", database_url=pg_dsn, environment=speaking_through(provider)) as node,
            running(environment(node, tmp_path), "chat", "--register", "--json", "a long story") as (process, lines),
        ):
            await lines.wait_for('"content"')
            process.send_signal(signal.SIGINT)
            last = json.loads((await lines.rest())[-1])
            assert await process.wait() == 130
            assert last["data"]["code"] == "CANCELLED"
            assert provider.open_connections() == 0


async def test_the_tree_shows_a_session_made_busy_killed_restarted_and_passivated(tmp_path: Path, pg_dsn: str) -> None:
    with trio.fail_after(110):
        async with (
            stand_in(Behaviour(tokens=10_000, gap_ms=25)) as provider,
            running_node(
                tmp_path / "node",
                database_url=pg_dsn,
                environment={**speaking_through(provider), "UNDERSTUDY_SESSION_IDLE_AFTER": "1s"},
            ) as node,
            running(environment(node, tmp_path), "tree", "--watch") as (_, lines),
        ):
            env = environment(node, tmp_path)
            await lines.wait_for("sessions/directory idle")
            async with running(env, "chat", "--register", "hello") as (chat, _):
                address = (await lines.wait_for("session/ses_", " streaming")).split()[0]
                once = await understudy(env, "tree")
                assert address in once.stdout.decode()
                async with httpx.AsyncClient(
                    base_url=node.url, headers={"X-Api-Key": INTERNAL_KEY}, timeout=60
                ) as operator:
                    killed = await operator.post(f"/diagnostics/actors/{address}/kill")
                assert killed.status_code == 200
                await lines.wait_for(address, "idle")
                assert await chat.wait() == 1
            await lines.wait_for(address, "gone")


async def test_doctor_asks_the_running_server_and_tells_a_wrong_key_from_a_sick_server(
    tmp_path: Path, pg_dsn: str
) -> None:
    with trio.fail_after(110):
        async with running_node(tmp_path / "node", database_url=pg_dsn) as node:
            env = environment(node, tmp_path)
            well = await understudy(env, "doctor", "--json", "--quick")
            (tmp_path / "key").write_text("not-the-key-of-this-server\n")
            refused = await understudy(env, "doctor", "--key-file", str(tmp_path / "key"))
            tree = await understudy(env, "tree", "--key-file", str(tmp_path / "key"))
    report = json.loads(well.stdout)
    assert (well.returncode, report["status"], report["source"]) == (0, "pass", node.url)
    assert (refused.returncode, tree.returncode) == (2, 1)
    assert b"refuses the internal key" in refused.stdout
    assert b"refuses the internal key" in tree.stderr


async def test_serve_says_where_it_is_and_a_second_one_says_why_it_cannot_be(tmp_path: Path) -> None:
    with trio.fail_after(110):
        async with running_node(tmp_path / "node") as node:
            env = {**node.environment, "HOME": str(tmp_path)}
            assert f"Understudy is ready on {node.url} (model builtin/rehearsal" in node.log
            same_port = await understudy(env, "serve", "--port", str(node.port), "--data-dir", str(tmp_path / "other"))
            same_data = await understudy(env, "serve", "--port", "0")
            assert node.process is not None
            began = trio.current_time()
            assert await node.stop() == 0
            assert trio.current_time() - began < 20, "with nothing to wait for it waited as if there were"
    for refused, word in [(same_port, b"another program listens on"), (same_data, b"in use by another")]:
        assert refused.returncode == 1
        last = refused.stderr.splitlines()[-1]
        assert last.startswith(b"understudy: ")
        assert word in last
        assert b"Traceback" not in refused.stderr


async def test_serve_says_which_address_it_cannot_listen_on(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    with trio.fail_after(110):
        refused = await understudy(
            env, "serve", "--host", "203.0.113.5", "--port", "8081", "--data-dir", str(tmp_path / "data")
        )
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"understudy: cannot listen on 203.0.113.5:8081: ")
    assert refused.stderr.count(b"\n") == 1


async def test_a_second_signal_ends_a_server_that_still_drains_and_leaves_no_database_behind(tmp_path: Path) -> None:
    with trio.fail_after(110):
        async with (
            stand_in(Behaviour(tokens=10_000, gap_ms=50)) as provider,
            running_node(tmp_path / "node", environment=speaking_through(provider)) as node,
            running(environment(node, tmp_path), "chat", "--register", "--json", "a long story") as (_, lines),
        ):
            await lines.wait_for('"content"')
            assert node.process is not None
            node.process.send_signal(signal.SIGTERM)
            while "stopping" not in node.log:
                await trio.sleep(0.02)
            assert node.process.poll() is None, "it did not wait for the turn"
            node.process.send_signal(signal.SIGTERM)
            status = await trio.to_thread.run_sync(node.process.wait)
            assert status == 128 + signal.SIGTERM
            postmaster = node.data_dir / "data" / "postgres" / "postmaster.pid"
            while postmaster.exists() and _lives(int(postmaster.read_text().split()[0])):
                await trio.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
