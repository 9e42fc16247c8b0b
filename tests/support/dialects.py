"""How each provider's stand-in spells a streamed answer."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from tests.support.completions import USAGE, Behaviour, event, framed, tool_events


class Dialect(Protocol):
    """The events of one answer: server-sent, not yet framed."""

    opening: bytes
    broken: bytes
    """Half an event."""
    failed: bytes
    """An error in the place of an event."""

    def words(self, words: Sequence[str]) -> list[bytes]: ...

    def calls(self, calls: Sequence[tuple[str, str]]) -> list[bytes]: ...

    def ending(self, how: Behaviour) -> list[bytes]: ...


def named(kind: str, **fields: Any) -> bytes:
    """An event of the Messages API."""
    return f"event: {kind}\n".encode() + b"data: " + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"


def unnamed(body: Any) -> bytes:
    """An event without a name."""
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def reason_of(how: Behaviour) -> str | None:
    return "tool_calls" if how.tool_calls and how.reason == "stop" else how.reason


class Chat:
    """OpenAI's chat completions."""

    opening = event({"role": "assistant", "content": ""})
    broken = b'data: {"id":"chatcmpl-1","choices":[{"ind'
    failed = b'data: {"error":{"message":"the model fell over","code":500}}\n\n'

    def words(self, words: Sequence[str]) -> list[bytes]:
        return [event({"content": word}) for word in words]

    def calls(self, calls: Sequence[tuple[str, str]]) -> list[bytes]:
        return tool_events(calls)

    def ending(self, how: Behaviour) -> list[bytes]:
        events = [event({}, reason_of(how))] if how.reason else []
        if how.usage:
            events.append(event(None, usage=USAGE))
        if how.done:
            events.append(b"data: [DONE]\n\n")
        return events


class Messages:
    """Anthropic's Messages, with a little thinking before the first word."""

    opening = named(
        "message_start",
        message={
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "fake",
            "content": [],
            "stop_reason": None,
            "usage": {
                "input_tokens": 4,
                "cache_read_input_tokens": 3,
                "cache_creation_input_tokens": 2,
                "output_tokens": 1,
            },
        },
    ) + named("ping")
    broken = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del'
    failed = named("error", error={"type": "overloaded_error", "message": "the model fell over"})
    reasons: ClassVar = {
        "stop": "end_turn",
        "tool_calls": "tool_use",
        "length": "max_tokens",
        "content_filter": "refusal",
    }

    def words(self, words: Sequence[str]) -> list[bytes]:
        events = [named("content_block_delta", index=1, delta={"type": "text_delta", "text": word}) for word in words]
        if events:
            events[0] = (
                self.thought()
                + named("content_block_start", index=1, content_block={"type": "text", "text": ""})
                + events[0]
            )
            events[-1] += named("content_block_stop", index=1)
        return events

    def thought(self) -> bytes:
        block = {"type": "thinking", "thinking": "", "signature": ""}
        return (
            named("content_block_start", index=0, content_block=block)
            + named("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm, "})
            + named("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "well."})
            + named("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2lnbmVk"})
            + named("content_block_stop", index=0)
        )

    def calls(self, calls: Sequence[tuple[str, str]]) -> list[bytes]:
        events: list[bytes] = [self.thought()]
        for number, (name, arguments) in enumerate(calls):
            index = number + 1
            block = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {}}
            events.append(named("content_block_start", index=index, content_block=block))
            half = len(arguments) // 2
            events.extend(
                named("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece})
                for piece in ("", arguments[:half], arguments[half:])
            )
            events.append(named("content_block_stop", index=index))
        return events

    def ending(self, how: Behaviour) -> list[bytes]:
        events: list[bytes] = []
        reason = reason_of(how)
        if reason:
            usage = {"usage": {"output_tokens": 12}} if how.usage else {}
            delta = {"stop_reason": self.reasons.get(reason, reason), "stop_sequence": None}
            events.append(named("message_delta", delta=delta, **usage))
        if how.done:
            events.append(named("message_stop"))
        return events


class Contents:
    """Gemini's generateContent, which has no marker behind the finish reason."""

    opening = unnamed({"candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}}]})
    broken = b'data: {"candidates": [{"content": {"par'
    failed = unnamed({"error": {"code": 503, "message": "the model fell over", "status": "UNAVAILABLE"}})
    reasons: ClassVar = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}

    def part(self, *parts: Any, **more: Any) -> bytes:
        return unnamed({"candidates": [{"content": {"parts": list(parts), "role": "model"}, **more}]})

    def words(self, words: Sequence[str]) -> list[bytes]:
        events = [self.part({"text": word}) for word in words]
        if events:
            events[0] = self.part({"text": "**Thinking** about it", "thought": True}) + events[0]
        return events

    def calls(self, calls: Sequence[tuple[str, str]]) -> list[bytes]:
        events = []
        for number, (name, arguments) in enumerate(calls):
            signed = {} if number else {"thoughtSignature": "c2lnbmVk"}
            call = {"name": name, "args": msgspec.json.decode(arguments)}
            events.append(self.part({"functionCall": call, **signed}))
        return events

    def ending(self, how: Behaviour) -> list[bytes]:
        reason = reason_of(how)
        if not reason:
            return []
        last: dict[str, Any] = {"finishReason": self.reasons.get(reason, reason), "content": {"parts": [{"text": ""}]}}
        chunk: dict[str, Any] = {"candidates": [last], "modelVersion": "fake"}
        if how.usage:
            chunk["usageMetadata"] = {
                "promptTokenCount": 9,
                "candidatesTokenCount": 5,
                "thoughtsTokenCount": 7,
                "cachedContentTokenCount": 3,
                "totalTokenCount": 21,
            }
        return [unnamed(chunk)]


CHAT, MESSAGES, CONTENTS = Chat(), Messages(), Contents()


def dialect_of(target: str) -> Dialect:
    """The dialect in which a request to *target* is answered."""
    if target.endswith("/messages"):
        return MESSAGES
    return CONTENTS if ":streamGenerateContent" in target else CHAT


def pieces_of(how: Behaviour, dialect: Dialect) -> list[bytes]:
    """The body's HTTP chunks; the first ``tokens`` are tokens, the opening rides with the first."""
    words = [f"tok{number} " for number in range(how.tokens)]
    if how.text is not None:
        words = [word + " " for word in how.text.split(" ")]
        words[-1] = words[-1][:-1]
    events = dialect.calls(how.tool_calls) if how.tool_calls else dialect.words(words)
    for limit, last in (
        (how.cut_after, None),
        (how.garbage_after, b"data: <html>Bad Gateway</html>\n\n"),
        (how.truncate_after, dialect.broken),
        (how.error_after, dialect.failed),
    ):
        if limit is not None:
            cut = [framed(one) for one in (dialect.opening, *events[:limit])]
            return cut if last is None else [*cut, framed(last), b"0\r\n\r\n"]
    events.extend(dialect.ending(how))
    if events:
        events[0] = dialect.opening + events[0]
    if how.crlf:
        events = [one.replace(b"\n", b"\r\n") for one in events]
    chunks = [framed(one) for one in events]
    chunks.append(b"0\r\n\r\n")
    if not how.gap_ms:
        chunks[-2:] = [chunks[-2] + chunks[-1]]
    return chunks
