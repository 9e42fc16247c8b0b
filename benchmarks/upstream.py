"""What one call to a model provider costs on our side: ours beside httpx, httpcore and a bare socket, in one run.

``python -m benchmarks.upstream [--calls 300] [--rounds 5]`` starts the stand-in provider as a process of its own and
prints one table. Every client reads the same streamed answer over a kept connection; the rounds interleave, and the
median of the rounds is shown, so that a noisy machine treats all alike. Trust the ratios.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpcore
import httpx
import msgspec
import trio

from understudy.actors.inference.messages import ChatMessage, ModelRequest
from understudy.actors.inference.openai import OpenAIClient
from understudy.actors.inference.openai_wire import Accent, encode_request
from understudy.actors.outbound.connection import Origin
from understudy.actors.outbound.http1 import Http1Client
from understudy.storage.records import Role

Call = Callable[[], Awaitable[int]]
PORT = 9177
REQUEST = ModelRequest("openai", "fake", (ChatMessage(Role.USER, "hello there, how are you?"),))
BODY = msgspec.json.encode(encode_request(REQUEST, Accent()))
HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-x", "accept": "text/event-stream"}


@asynccontextmanager
async def bare_socket(port: int) -> AsyncIterator[Call]:
    """The floor: one write, reads until the last chunk, nothing parsed."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(BODY)}\r\n\r\n".encode()

    async def call() -> int:
        await stream.send_all(head + BODY)
        data = b""
        while not data.endswith(b"\r\n0\r\n\r\n"):
            data += await stream.receive_some(65536)
        return len(data)

    async with stream:
        yield call


@asynccontextmanager
async def http1(port: int) -> AsyncIterator[Call]:
    """Ours, HTTP only."""
    client = Http1Client()
    origin = Origin.of(f"http://127.0.0.1:{port}")
    headers = [(b"host", b"127.0.0.1"), (b"content-length", b"%d" % len(BODY))]
    headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def call() -> int:
        size = 0
        response = await client.post(origin, b"/v1/chat/completions", headers, BODY, connect_timeout=5)
        try:
            while piece := await response.read():
                size += len(piece)
        finally:
            response.release()
        return size

    yield call
    client.close()


@asynccontextmanager
async def openai_client(port: int) -> AsyncIterator[Call]:
    """Ours with everything: request built, events parsed and typed, four timeouts watched."""
    client = OpenAIClient(f"http://127.0.0.1:{port}/v1", "sk-x")

    async def call() -> int:
        count = 0
        async with client.stream(REQUEST) as events:
            async for _ in events:
                count += 1
        return count

    yield call
    await client.aclose()


@asynccontextmanager
async def httpcore_pool(port: int) -> AsyncIterator[Call]:
    """httpcore's pool, HTTP only."""
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with httpcore.AsyncConnectionPool() as pool:

        async def call() -> int:
            size = 0
            async with pool.stream("POST", url, headers=list(HEADERS.items()), content=BODY) as response:
                async for piece in response.aiter_stream():
                    size += len(piece)
            return size

        yield call


@asynccontextmanager
async def httpx_bytes(port: int) -> AsyncIterator[Call]:
    """httpx, HTTP only."""
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with httpx.AsyncClient() as client:

        async def call() -> int:
            size = 0
            async with client.stream("POST", url, headers=HEADERS, content=BODY) as response:
                async for piece in response.aiter_bytes():
                    size += len(piece)
            return size

        yield call


@asynccontextmanager
async def httpx_events(port: int) -> AsyncIterator[Call]:
    """httpx with the usual loop over lines and a JSON decoder: what the whole of ours would be on httpx."""
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    decode = msgspec.json.Decoder().decode
    async with httpx.AsyncClient() as client:

        async def call() -> int:
            count = 0
            async with client.stream("POST", url, headers=HEADERS, content=BODY) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        decode(line[6:])
                        count += 1
            return count

        yield call


CLIENTS = {
    "bare socket (floor)": bare_socket,
    "ours: Http1Client": http1,
    "httpcore": httpcore_pool,
    "httpx": httpx_bytes,
    "ours: OpenAIClient, events": openai_client,
    "httpx, lines and JSON": httpx_events,
}


async def measure(port: int, calls: int, rounds: int) -> dict[str, float]:
    """Microseconds of one call, by client: the median of the rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in CLIENTS}
    async with AsyncExitStack() as stack:
        ready = {name: await stack.enter_async_context(make(port)) for name, make in CLIENTS.items()}
        for call in ready.values():
            await call()
        for _ in range(rounds):
            for name, call in ready.items():
                begin = time.perf_counter()
                for _ in range(calls):
                    await call()
                seconds[name].append((time.perf_counter() - begin) / calls)
    return {name: statistics.median(times) * 1e6 for name, times in seconds.items()}


def provider(tokens: int) -> "subprocess.Popen[bytes]":
    """The stand-in provider as a process, once it listens."""
    command = [sys.executable, "-m", "tests.support.provider", "--port", str(PORT), "--tokens", str(tokens)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    results: dict[int, dict[str, float]] = {}
    for tokens in (1, 64, 1024):
        process = provider(tokens)
        try:
            calls = max(10, arguments.calls if tokens <= 64 else arguments.calls // 10)
            results[tokens] = trio.run(measure, PORT, calls, arguments.rounds)
        finally:
            process.terminate()
            process.wait()
    print(f"{'one call, kept connection':<30}" + "".join(f"{tokens:>8} tokens  ratio" for tokens in results))
    for name in CLIENTS:
        row = f"{name:<30}"
        for times in results.values():
            own = times["ours: OpenAIClient, events" if "JSON" in name or "events" in name else "ours: Http1Client"]
            row += f"{times[name]:>12.0f} µs {times[name] / own:>6.2f}"
        print(row)
    print("ratio: to ours that does the same work (HTTP only, or up to typed events)")


if __name__ == "__main__":
    main()
