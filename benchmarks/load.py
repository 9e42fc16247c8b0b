"""A closed-loop HTTP load: so many clients, each with one connection and one request at a time, on bare sockets."""

import itertools
import statistics

import attrs
import trio


@attrs.frozen
class Result:
    """What a load came to; times in seconds."""

    requests: int
    seconds: float
    latencies: list[float]
    body_bytes: int
    chunks: int
    errors: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that *share* of the requests stayed within."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")

    @property
    def p50(self) -> float:
        """The median latency."""
        return statistics.median(self.latencies) if self.latencies else float("nan")


def request(path: str, headers: dict[str, str], body: bytes) -> bytes:
    """A POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class Connection:
    """One keep-alive connection that reads just enough HTTP to know where an answer ends."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._rest = b""

    async def roundtrip(self, wire: bytes) -> tuple[int, int, int]:
        """Send a request, read its answer: (status, bytes of body, chunks of a chunked body or SSE events)."""
        await self._stream.send_all(wire)
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += await self._more()
        head, data = data[:end].lower(), data[end + 4 :]
        status = int(head[9:12])
        if b"transfer-encoding: chunked" in head:
            while not data.endswith(b"0\r\n\r\n"):
                data += await self._more()
            self._rest = b""
            return status, len(data), data.count(b"\ndata:")
        at = head.index(b"content-length:") + 15
        length = int(head[at : head.find(b"\r", at) if head.find(b"\r", at) > 0 else len(head)])
        while len(data) < length:
            data += await self._more()
        self._rest = data[length:]
        return status, length, 0

    async def _more(self) -> bytes:
        data = await self._stream.receive_some(65536)
        if not data:
            raise trio.BrokenResourceError("the server closed the connection")
        return bytes(data)


async def run_load(port: int, wires: list[bytes], *, clients: int, seconds: float, at_least: int = 0) -> Result:
    """Let *clients* send for *seconds*, and *at_least* so often, taking the requests of *wires* in turn."""
    latencies: list[float] = []
    totals = [0, 0, 0]
    began = trio.current_time()
    ends = began + seconds

    supply = itertools.cycle(wires)

    async def one() -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            stream.setsockopt(6, 1, 1)
            connection = Connection(stream)
            while trio.current_time() < ends or len(latencies) < at_least:
                start = trio.current_time()
                status, size, chunks = await connection.roundtrip(next(supply))
                latencies.append(trio.current_time() - start)
                totals[0] += size
                totals[1] += chunks
                totals[2] += status != 200

    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(one)
    took = trio.current_time() - began
    return Result(len(latencies), took, latencies, totals[0], totals[1], totals[2])
