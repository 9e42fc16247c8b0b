"""The whole server as a process of its own, started as its users start it."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path

import attrs
import httpx
import trio

INTERNAL_KEY = "test-internal-key-of-at-least-32-characters"
JWT_SECRET = "test-signing-secret-of-at-least-32-characters"
START_BOUND = 60.0


_PORTS = range(12_000, 32_000)
"""Below those that the kernel gives to whoever asks for any: what is free stays free until a server is there."""

_next_port = count(os.getpid() * 997)


def free_port() -> int:
    """A port that nobody has, nor gets by chance; another one each time."""
    while True:
        port = _PORTS[next(_next_port) % len(_PORTS)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@attrs.define
class Node:
    """A server process and where to find it. It may be killed and started again: same port, same data."""

    data_dir: Path
    port: int
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that the process has written so far."""
        path = self.data_dir / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def spawn(self) -> None:
        """Start the process; returns at once."""
        with (self.data_dir / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "understudy", "serve", "--port", str(self.port)],
                env=self.environment,
                cwd=self.data_dir,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    async def start(self) -> None:
        """Start the process and wait until it is ready. Fails with its log when it ends instead."""
        self.spawn()
        await self.wait_ready()

    async def wait_ready(self, *, ready: bool = True) -> None:
        """Wait until ``/readiness`` says so (or, with ``ready=False``, says no)."""
        async with httpx.AsyncClient() as http:
            with trio.move_on_after(START_BOUND):
                while True:
                    assert self.process is not None
                    if self.process.poll() is not None:
                        raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log}")
                    try:
                        answer = await http.get(f"{self.url}/readiness", timeout=5)
                    except httpx.HTTPError:
                        pass
                    else:
                        if (answer.status_code == 200) is ready:
                            return
                    await trio.sleep(0.02)
            raise AssertionError(f"not {'ready' if ready else 'unready'} in time:\n{self.log}")

    def kill(self) -> None:
        """``kill -9``; returns when the process is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await trio.to_thread.run_sync(self.process.wait)


def new_node(data_dir: Path, database_url: str | None = None, environment: Mapping[str, str] | None = None) -> Node:
    """A server over *data_dir* that does not run yet."""
    data_dir.mkdir(parents=True, exist_ok=True)
    inherited = {k: os.environ[k] for k in ("PATH", "HOME", "LANG", "TMPDIR") if k in os.environ}
    return Node(
        data_dir,
        free_port(),
        {
            **inherited,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "UNDERSTUDY_DATA_DIR": str(data_dir / "data"),
            "INTERNAL_API_KEY": INTERNAL_KEY,
            "JWT_SECRET": JWT_SECRET,
            "RATE_LIMIT_MAX": "0",
            "USER_RATE_LIMIT_MAX": "0",
            "USER_STREAMS_MAX": "0",
            "UNDERSTUDY_MAX_CONSECUTIVE_FAILURES": "0",
            "UNDERSTUDY_MEMORY_EXTRACTION": "off",
            **({"DATABASE_URL": database_url} if database_url else {}),
            **(environment or {}),
        },
    )


@contextmanager
def node_of_a_module(data_dir: Path, database_url: str, environment: Mapping[str, str]) -> Generator[Node]:
    """A running server for fixtures that outlive one test, which cannot be async: not to be entered within trio."""
    node = new_node(data_dir, database_url, environment)
    try:
        trio.run(node.start)
        yield node
    finally:
        if node.process is not None and node.process.poll() is None:
            node.kill()


@asynccontextmanager
async def running_node(
    data_dir: Path, *, database_url: str | None = None, environment: Mapping[str, str] | None = None, start: bool = True
) -> AsyncGenerator[Node, None]:
    """A server over *data_dir*; on a database of the test run when one is given, else with its embedded one."""
    node = new_node(data_dir, database_url, environment)
    try:
        if start:
            await node.start()
        yield node
    finally:
        with trio.CancelScope(shield=True):
            if node.process is not None and node.process.poll() is None:
                with trio.move_on_after(20):
                    await node.stop()
                node.process.kill()
                node.process.wait()


def some_email() -> str:
    """An address nobody has registered."""
    return f"{secrets.token_hex(8)}@example.org"
