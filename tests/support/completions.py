"""What the stand-in provider does: behaviours, and the events of OpenAI's chat completions."""

import math
from collections.abc import Sequence
from typing import Any

import attrs
import msgspec

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
ANSWER = "The quick brown fox jumps over the lazy dog again."


@attrs.frozen
class Behaviour:
    """How one request is answered. Counts are in tokens (one event each), times in milliseconds.

    ``gap_ms`` lies between tokens, ``first_ms`` before the first one; inf waits until the client leaves.
    ``cut_after`` / ``stall_after`` / ``garbage_after`` / ``truncate_after``: after that many tokens close the
    connection, fall silent, send what is no JSON, or send half an event and end the body properly.
    ``drop`` closes without a word; ``stall_head`` accepts and never answers; ``stall_opened`` sends what a provider
    sends before its first token, a sign of life, and nothing more.
    """

    tokens: int = 8
    gap_ms: float = 0.0
    first_ms: float = 0.0
    text: str | None = None
    tool_calls: tuple[tuple[str, str], ...] = ()
    status: int = 200
    retry_after: str | None = None
    body: str | None = None
    content_type: str | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    garbage_after: int | None = None
    truncate_after: int | None = None
    error_after: int | None = None
    drop: bool = False
    stall_head: bool = False
    stall_opened: bool = False
    reason: str | None = "stop"
    usage: bool = True
    done: bool = True
    crlf: bool = False
    raw: bytes | None = None
    close: bool = False

    @classmethod
    def parse(cls, words: str) -> "Behaviour":
        """Read ``key=value`` words; values are JSON, or bare text."""
        values: dict[str, Any] = {}
        for word in words.split():
            key, _, value = word.partition("=")
            try:
                values[key] = msgspec.json.decode(value) if value else True
            except msgspec.DecodeError:
                values[key] = math.inf if value == "inf" else value
        if "tool" in values:
            values["tool_calls"] = ((values.pop("tool"), msgspec.json.encode(values.pop("arguments", {})).decode()),)
        return cls(**values)


def plain(status: int, body: bytes, content_type: str | None = None, retry_after: str | None = None) -> bytes:
    head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: {content_type or 'application/json'}\r\n"
    if retry_after is not None:
        head += f"retry-after: {retry_after}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


COMPLETION = msgspec.json.encode(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "fake",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
)


def event(delta: dict[str, Any] | None, reason: str | None = None, **more: Any) -> bytes:
    """One chunk of a chat completion as a server-sent event."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1790000000, "model": "fake"}
    return b"data: " + msgspec.json.encode({**chunk, "choices": choices, **more}) + b"\n\n"


def framed(data: bytes) -> bytes:
    """As one HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def tool_events(calls: Sequence[tuple[str, str]]) -> list[bytes]:
    events = []
    for index, (name, arguments) in enumerate(calls):
        start = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        events.append(event({"tool_calls": [start]}))
        half = len(arguments) // 2
        events.extend(
            event({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            for piece in (arguments[:half], arguments[half:])
        )
    return events
