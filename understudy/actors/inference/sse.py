"""Server-sent events, parsed incrementally over bytes (WHATWG HTML §9.2.6), with as few copies as it takes."""


class EventTooLong(Exception):
    """One event is longer than the limit: whatever this is, it is not a token stream."""


class SseDecoder:
    """Turns the bytes of an event stream, however they are cut, into the ``data`` of its events.

    Line ends may be LF, CRLF or CR; comments and other fields are skipped; ``data:`` may lack its space. The data stays
    bytes, so a character cut between two reads needs no care here.
    """

    def __init__(self, limit: int = 4 * 1024 * 1024) -> None:
        self._limit = limit
        self._rest = b""
        self._after_cr = False
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of every event that *chunk* completes, in order. Raises `EventTooLong`."""
        if self._after_cr and chunk:
            # The last read ended in CR, taken for a line end: an LF that opens this one belongs to it.
            self._after_cr = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        if b"\r" in chunk:
            self._after_cr = chunk[-1] == 0x0D
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = (self._rest + chunk if self._rest else chunk).split(b"\n")
        self._rest = lines.pop()
        events: list[bytes] = []
        data = self._data
        for line in lines:
            if not line:
                if data:
                    events.append(data[0] if len(data) == 1 else b"\n".join(data))
                    data.clear()
                    self._size = 0
            elif line.startswith(b"data:"):
                value = line[6:] if line.startswith(b"data: ") else line[5:]
                data.append(value)
                self._size += len(value)
        if self._size + len(self._rest) > self._limit:
            raise EventTooLong(f"an event of more than {self._limit} bytes")
        return events

    def flush(self) -> list[bytes]:
        """What an ended stream left without its closing blank line; some servers end ``data: [DONE]`` so."""
        return self.feed(b"\n\n") if self._rest or self._data else []
