"""Server-sent events, decoded as the HTML standard says."""

import re
from collections.abc import Iterator

import attrs

# Only these three end a line. `str.splitlines` and httpx's `aiter_lines` also split at U+2028 and its like, which JSON
# may carry unescaped inside a string.
_LINE = re.compile(rb"(.*?)(\r\n|\n|\r)", re.DOTALL)


@attrs.frozen
class ServerEvent:
    """One event. ``id`` is the one it carried itself, empty when it had none."""

    type: str
    data: str
    id: str


class EventDecoder:
    """Turns chunks of a response's body, cut anywhere, into events."""

    def __init__(self) -> None:
        self._rest = b""
        self._type = ""
        self._data: list[str] = []
        self._id = ""
        self._started = False

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """The events that *chunk* completes. An event that the stream never finishes is never given."""
        text = self._rest + chunk
        if not self._started and len(text) >= 3:
            self._started = True
            text = text.removeprefix(b"\xef\xbb\xbf")
        end = 0
        for match in _LINE.finditer(text):
            if match[2] == b"\r" and match.end() == len(text):
                break  # perhaps the first half of a CRLF: the next chunk tells
            end = match.end()
            if (event := self._line(match[1].decode(errors="replace"))) is not None:
                yield event
        self._rest = text[end:]

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case _:  # a comment, `retry`, or a field of the future
                pass
        return None

    def _dispatch(self) -> ServerEvent | None:
        kind, data = self._type or "message", self._data
        event_id = self._id
        self._type, self._data, self._id = "", [], ""
        return ServerEvent(kind, "\n".join(data), event_id) if data else None
