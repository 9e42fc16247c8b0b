"""Many conversations that stream at once, at the pace of a model: what a token waits between the model and its reader.

    python -m benchmarks.streams [--streams 1000] [--rate 20] [--settle 10] [--seconds 10]

The server runs on one core; the provider, the readers and PostgreSQL share what is left. Each token carries the moment
at which the provider sent it. The same readers on the provider itself, in the same run, are the floor.
"""

import argparse
import os
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import httpx
import msgspec
import psutil
import trio

from benchmarks.load import request
from tests.support.client import register
from tests.support.node import running_node

PROVIDER_PORT = 9102
SERVER_CORE, LOAD_CORE = 0, 1
_TOKEN = re.compile(rb"(\d{12,}) ")
_TAIL = 24


@attrs.define
class Heard:
    """What the readers heard: how long each token had been on its way, in seconds, and what went wrong."""

    delays: list[float] = attrs.field(factory=list)
    seconds: float = 0.0
    quiet: int = 0
    refused: int = 0
    shares: tuple[float, ...] = ()

    def percentile(self, share: float) -> float:
        """The delay in milliseconds that *share* of the tokens stayed within."""
        ordered = sorted(self.delays)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else float("nan")


def listen(
    port: int, wires: list[bytes], settle: float, seconds: float, used: Callable[[], tuple[float, ...]]
) -> Heard:
    """Open a stream with each of *wires* and read them all, in this thread, for *settle* and then for *seconds*.

    *used* is asked when measuring begins and when it ends: seconds of CPU that somebody has used so far.
    """
    heard, selector = Heard(), selectors.DefaultSelector()
    tails: dict[socket.socket, bytes] = {}
    counts: dict[socket.socket, int] = {}
    for wire in wires:
        made = socket.create_connection(("127.0.0.1", port))
        made.sendall(wire)
        made.setblocking(False)
        selector.register(made, selectors.EVENT_READ)
        tails[made], counts[made] = b"", 0
    begin, before = time.monotonic() + settle, used()
    began: float | None = None
    while (now := time.monotonic()) < begin + seconds:
        if now >= begin and began is None:
            began, before = now, used()
            counts = dict.fromkeys(counts, 0)
        for key, _ in selector.select(0.1):
            assert isinstance(key.fileobj, socket.socket)
            opened = key.fileobj
            data = opened.recv(65536)
            if not data:
                selector.unregister(opened)
                continue
            arrived, text = time.monotonic_ns(), tails[opened] + data
            end = 0
            for found in _TOKEN.finditer(text):
                end = found.end()
                counts[opened] += 1
                if began is not None:
                    heard.delays.append((arrived - int(found[1])) / 1e9)
            tails[opened] = text[max(end, len(text) - _TAIL) :]
            heard.refused += data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200")
    heard.seconds = time.monotonic() - (began or begin)
    heard.shares = tuple((late - early) / heard.seconds for early, late in zip(before, used(), strict=True))
    heard.quiet = sum(count == 0 for count in counts.values())
    for made in tails:
        made.close()
    return heard


def row(name: str, heard: Heard) -> None:
    """One line of the table."""
    used = "".join(f"{share * 100:10.0f} %" for share in heard.shares) or f"{'-':>12}" * 2
    print(
        f"{name:12}{len(heard.delays) / heard.seconds:12.0f}{heard.percentile(0.5):10.1f}{heard.percentile(0.99):10.1f}"
        f"{heard.percentile(1.0):10.1f}{used}{heard.quiet:8d}{heard.refused:9d}"
    )


async def main(streams: int, rate: float, settle: float, seconds: float) -> None:
    """Run it and print the table."""
    tokens = int((seconds + settle + 60) * rate)
    provider = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchmarks.paced",
            f"--port={PROVIDER_PORT}",
            f"--tokens={tokens}",
            f"--gap-ms={1000 / rate}",
        ]
    )
    if (os.cpu_count() or 1) > 1:
        for pid in (provider.pid, os.getpid()):
            psutil.Process(pid).cpu_affinity([LOAD_CORE])
    environment = {
        "OPENAI_API_KEY": "sk-x",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{PROVIDER_PORT}/v1",
        "UNDERSTUDY_MODEL": "openai/fake",
        "LOG_LEVEL": "warning",
        "UNDERSTUDY_MODEL_CONCURRENCY": str(streams),
    }
    try:
        with tempfile.TemporaryDirectory() as directory:
            async with running_node(Path(directory), environment=environment) as node:
                assert node.process is not None
                server = psutil.Process(node.process.pid)
                if (os.cpu_count() or 1) > 1:
                    server.cpu_affinity([SERVER_CORE])
                async with httpx.AsyncClient(base_url=node.url, timeout=30) as http:
                    client = await register(http)
                headers = {"Authorization": f"Bearer {client.token}"}
                wires = [
                    request(
                        "/agent/chat/stream", headers, msgspec.json.encode({"message": "go on", "surfaceId": f"s{n}"})
                    )
                    for n in range(streams)
                ]
                straight = request(
                    "/v1/chat/completions",
                    {"Authorization": "Bearer sk-x"},
                    b'{"model":"fake","stream":true,"messages":[{"role":"user","content":"go on"}]}',
                )
                columns = (("tokens/s", 12), ("p50 ms", 10), ("p99 ms", 10), ("max ms", 10))
                named = "".join(f"{name:>{width}}" for name, width in columns)
                print(f"{streams} streams of {rate:g} tokens a second")
                print(f"{'':12}{named}{'server CPU':>12}{'postgres':>12}{'quiet':>8}{'refused':>9}")
                row("straight", listen(PROVIDER_PORT, [straight] * streams, 3.0, seconds, tuple))
                row("understudy", listen(node.port, wires, settle, seconds, lambda: (_cpu(server), _kin(server))))
    finally:
        provider.kill()


def _cpu(process: psutil.Process) -> float:
    """Seconds of CPU that a process has used so far."""
    times = process.cpu_times()
    return times.user + times.system


def _kin(server: psutil.Process) -> float:
    """Seconds of CPU that the server's children have used so far: PostgreSQL."""
    return sum(_cpu(child) for child in server.children(recursive=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--settle", type=float, default=10.0, help="seconds before measuring: turns begin")
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    trio.run(main, given.streams, given.rate, given.settle, given.seconds)
