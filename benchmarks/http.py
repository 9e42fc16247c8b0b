"""What the server costs between a client and a model, with durable sessions on.

    python benchmarks/http.py [--seconds 5] [--idle 10000] [--streams 500] [--peer URL[,header=value]]

The server runs on one core, the load and the stand-in provider on the other; PostgreSQL runs where there is room. Every
figure stands beside the same load sent straight to the provider in the same run, and beside a peer gateway (an
OpenAI-compatible one in front of ``http://127.0.0.1:9101/v1``) when ``--peer`` names one: trust the ratios, not the
absolute numbers.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

# In place of this folder, where this very file would stand before the standard library's `http`.
sys.path[0] = str(Path(__file__).parents[1])
os.environ.setdefault("PYTHONPATH", sys.path[0])

import httpx
import msgspec
import psutil
import trio

from benchmarks.load import Connection, Result, request, run_load
from tests.support.client import Client, connect, register
from tests.support.node import Node, running_node

PROVIDER_PORT = 9101
SERVER_CORE, LOAD_CORE = 0, 1


def pin(pid: int, core: int) -> None:
    """Keep a process on one core, where there are two."""
    if (os.cpu_count() or 1) > 1:
        psutil.Process(pid).cpu_affinity([core])


CONVERSATIONS = 200
"""So many that a request carries little history: what is measured is the server, not the length of a prompt."""

TOKENS = 64
"""What the stand-in provider answers with, in one event each."""


def chat_wires(client: Client, path: str, count: int = CONVERSATIONS) -> list[bytes]:
    """The same question in *count* conversations."""
    headers = {"Authorization": f"Bearer {client.token}"}
    return [
        request(path, headers, msgspec.json.encode({"message": "hello there, how are you?", "surfaceId": f"s{n}"}))
        for n in range(count)
    ]


def provider_wire(*, stream: bool, headers: dict[str, str] | None = None, path: str = "/v1/chat/completions") -> bytes:
    """The same question to an OpenAI-compatible server."""
    body = {"model": "fake", "stream": stream, "messages": [{"role": "user", "content": "hello there, how are you?"}]}
    return request(path, {"Authorization": "Bearer sk-x", **(headers or {})}, msgspec.json.encode(body))


def row(name: str, one: Result, many: Result, streamed: Result, base: Result | None) -> None:
    """One line of the table."""
    added = f"{(one.p50 - base.p50) * 1000:8.2f}" if base else "       -"
    print(
        f"{name:34}{one.p50 * 1000:9.2f}{added}{many.rate:10.0f}{many.percentile(0.99) * 1000:9.1f}"
        f"{streamed.rate * TOKENS:13.0f}{one.errors + many.errors + streamed.errors:8d}"
    )


async def measure(
    port: int, plain: list[bytes], streamed: list[bytes], seconds: float
) -> tuple[Result, Result, Result]:
    """One client, sixteen clients, sixteen streaming clients; before them every conversation is begun."""
    await run_load(port, plain, clients=16, seconds=0, at_least=len(plain))
    return (
        await run_load(port, plain, clients=1, seconds=seconds),
        await run_load(port, plain, clients=16, seconds=seconds),
        await run_load(port, streamed, clients=16, seconds=seconds),
    )


async def idle_sessions(node: Node, client: Client, count: int) -> float:
    """Bytes of memory per live session that has nothing to do."""
    assert node.process is not None
    process = psutil.Process(node.process.pid)
    before = process.memory_info().rss
    headers = {"Authorization": f"Bearer {client.token}"}
    async with trio.open_nursery() as nursery:
        for worker in range(16):

            async def chats(worker: int = worker) -> None:
                stream = await trio.open_tcp_stream("127.0.0.1", node.port)
                connection = Connection(stream)
                for number in range(worker, count, 16):
                    body = msgspec.json.encode({"message": "hello", "surfaceId": f"idle-{number}"})
                    await connection.roundtrip(request("/agent/chat", headers, body))
                await stream.aclose()

            nursery.start_soon(chats)
    return (process.memory_info().rss - before) / count


async def open_streams(node: Node, client: Client, session_id: str, count: int) -> float:
    """Bytes of memory per open event stream."""
    assert node.process is not None
    process = psutil.Process(node.process.pid)
    wire = (
        f"GET /sessions/{session_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {client.token}\r\n\r\n"
    ).encode()
    streams: list[trio.SocketStream] = []
    before = process.memory_info().rss
    for _ in range(count):
        stream = await trio.open_tcp_stream("127.0.0.1", node.port)
        await stream.send_all(wire)
        await stream.receive_some(4096)
        streams.append(stream)
    grown = process.memory_info().rss - before
    for stream in streams:
        await stream.aclose()
    return grown / count


async def main(seconds: float, idle: int, streams: int, peer: str | None) -> None:
    provider = subprocess.Popen(
        [sys.executable, "-m", "tests.support.provider", "--port", str(PROVIDER_PORT), "--tokens", str(TOKENS)],
        stdout=subprocess.DEVNULL,
    )
    pin(provider.pid, LOAD_CORE)
    pin(os.getpid(), LOAD_CORE)
    environment = {
        "OPENAI_API_KEY": "sk-x",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{PROVIDER_PORT}/v1",
        "UNDERSTUDY_MODEL": "openai/fake",
        "LOG_LEVEL": "warning",
        "UNDERSTUDY_SESSION_IDLE_AFTER": "1h",
    }
    try:
        with tempfile.TemporaryDirectory() as directory:
            async with running_node(Path(directory), environment=environment) as node:
                assert node.process is not None
                pin(node.process.pid, SERVER_CORE)
                async with connect(node.url) as http:
                    client = await register(http)
                    session = (await client.chat("hello", surfaceId="watched")).json()["sessionId"]
                columns = (("p50 ms, 1", 9), ("added", 8), ("req/s, 16", 10), ("p99 ms", 9), ("chunks/s, 16", 13))
                print(" " * 34 + "".join(f"{name:>{width}}" for name, width in columns) + "  errors")
                direct = await measure(
                    PROVIDER_PORT, [provider_wire(stream=False)], [provider_wire(stream=True)], seconds
                )
                row("stand-in provider, direct", *direct, None)
                ours = await measure(
                    node.port,
                    chat_wires(client, "/agent/chat", 64),
                    chat_wires(client, "/agent/chat/stream", 64),
                    seconds,
                )
                row("Understudy, durable sessions", *ours, direct[0])
                if peer:
                    await measure_peer(peer, direct[0], ours, seconds)
                if streams:
                    print(
                        f"bytes per open stream ({streams}): {await open_streams(node, client, session, streams):,.0f}"
                    )
                if idle:
                    print(f"bytes per live idle session ({idle}): {await idle_sessions(node, client, idle):,.0f}")
    finally:
        provider.kill()
        provider.wait()


async def measure_peer(peer: str, direct: Result, ours: tuple[Result, Result, Result], seconds: float) -> None:
    """The same load through another gateway, and how we stand to it."""
    url, *pairs = peer.split(",")
    headers = dict(pair.split("=", 1) for pair in pairs)
    parts = urlsplit(url)
    async with httpx.AsyncClient() as http:
        await http.get(f"http://127.0.0.1:{parts.port}/")
    plain, streamed = (
        provider_wire(stream=stream, headers=headers, path=parts.path or "/v1/chat/completions")
        for stream in (False, True)
    )
    theirs = await measure(parts.port or 80, [plain], [streamed], seconds)
    row(f"peer on port {parts.port}", *theirs, direct)
    print(
        f"ours / peer: added latency {(ours[0].p50 - direct.p50) / (theirs[0].p50 - direct.p50):.2f}, "
        f"req/s {ours[1].rate / theirs[1].rate:.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--peer")
    arguments = parser.parse_args()
    trio.run(main, arguments.seconds, arguments.idle, arguments.streams, arguments.peer)
