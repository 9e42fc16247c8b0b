"""A stand-in provider whose streams speak at a given pace, each token being the moment at which it was sent.

``python -m benchmarks.paced --port 9102 --tokens 400 --gap-ms 50``: one thread and one selector, since it has to keep
thousands of streams on time beside the server that is measured. Every stream starts at a moment of its own.
"""

import argparse
import heapq
import random
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import attrs

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_END = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":%d}}'


def _chunk(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


@attrs.define(eq=False)
class _Stream:
    socket: socket.socket
    received: bytes = b""
    left: int = 0


class Paced:
    """The provider: `run` never returns."""

    def __init__(self, port: int, tokens: int, gap: float) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._due: list[tuple[float, int, _Stream]] = []
        self._tokens, self._gap = tokens, gap
        self._rng = random.Random(7)
        self._numbers = iter(range(1 << 62))

    def run(self) -> None:
        """Serve until killed."""
        while True:
            wait = self._due[0][0] - time.monotonic() if self._due else None
            for key, _ in self._selector.select(None if wait is None else max(0.0, wait)):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)
            for stream in self._ripe(time.monotonic()):
                self._speak(stream)

    def _ripe(self, now: float) -> Iterator[_Stream]:
        while self._due and self._due[0][0] <= now:
            due, _, stream = heapq.heappop(self._due)
            yield stream
            if stream.left >= 0:
                heapq.heappush(self._due, (due + self._gap, next(self._numbers), stream))

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, _Stream(connection))

    def _read(self, stream: _Stream) -> None:
        data = b""
        with suppress(OSError):
            data = stream.socket.recv(65536)
        if not data:
            stream.left = -1
            self._selector.unregister(stream.socket)
            stream.socket.close()
            return
        stream.received += data
        head, found, body = stream.received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if found and len(body) >= int(length or b"0"):
            stream.received, stream.left = b"", self._tokens
            stream.socket.send(_HEAD)
            begin = time.monotonic() + self._rng.uniform(0.0, self._gap)
            heapq.heappush(self._due, (begin, next(self._numbers), stream))

    def _speak(self, stream: _Stream) -> None:
        with suppress(OSError):
            if stream.left > 0:
                said = b'{"choices":[{"index":0,"delta":{"content":"%d "}}]}' % time.monotonic_ns()
                stream.socket.send(_chunk(said))
            elif stream.left == 0:
                stream.socket.send(_chunk(_END % self._tokens) + _chunk(b"[DONE]") + b"0\r\n\r\n")
        stream.left -= 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9102)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--gap-ms", type=float, default=50.0)
    given = parser.parse_args()
    Paced(given.port, given.tokens, given.gap_ms / 1000).run()
