"""What a server prints on its standard error goes to our log, as far as there is room."""

import logging

import trio

LINES_A_MINUTE = 60
LONGEST_LINE = 500

log = logging.getLogger(__name__)


class Chatter:
    """The lines of one process: so many a minute are logged, the rest is counted; the last one is remembered."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._until = 0.0
        self._left = 0
        self._dropped = 0
        self._last = ""

    async def follow(self, stream: trio.abc.ReceiveStream | None) -> None:
        """Read the stream to its end. Holds no more than a line."""
        if stream is None:
            return
        rest = b""
        try:
            while data := await stream.receive_some(16_384):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self.hear(line)
                rest = rest[:LONGEST_LINE]
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the process is being ended
        self.hear(rest)

    def hear(self, line: bytes) -> None:
        """Log a line, if there is room for it."""
        text = line[:LONGEST_LINE].decode("utf-8", "replace").strip()
        if not text:
            return
        self._last = text
        now = trio.current_time()
        if now >= self._until:
            if self._dropped:
                log.info("MCP server %s printed %d more lines", self._server, self._dropped)
            self._until, self._left, self._dropped = now + 60.0, LINES_A_MINUTE, 0
        if self._left:
            self._left -= 1
            log.info("MCP server %s: %r", self._server, text)
        else:
            self._dropped += 1

    def last_words(self) -> str:
        """The last line, to be put behind an explanation; empty when it never said anything."""
        return f": {self._last[:200]}" if self._last else ""
