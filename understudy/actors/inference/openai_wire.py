"""The OpenAI chat-completions format: what is sent, and what the chunks of a stream may hold.

Many servers speak it with an accent. Whatever may be missing has a default here, what may be null is nullable, and
what is not needed is not declared: msgspec skips it without building it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from understudy.actors.inference.messages import ChatMessage, ModelRequest


class UsageBody(msgspec.Struct, gc=False):
    """Token counts; some servers send null for one of them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class FunctionDelta(msgspec.Struct, gc=False):
    """A piece of a call. ``arguments`` is a piece of JSON text; some local servers send a whole object instead."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCallDelta(msgspec.Struct, gc=False):
    """``index`` says which call a piece belongs to; servers without it give each call its own ``id``."""

    index: int | None = None
    id: str | None = None
    function: FunctionDelta | None = None


class ContentPart(msgspec.Struct, gc=False):
    """A typed piece of content, as Mistral's reasoning models send it; pieces that are not text have no ``text``."""

    text: str | None = None


class Delta(msgspec.Struct, gc=False):
    """What one chunk adds. ``refusal`` is text in place of content."""

    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCallDelta] | None = None
    refusal: str | None = None


class Choice(msgspec.Struct, gc=False):
    """One of ``n`` answers; we ask for one."""

    index: int | None = 0
    delta: Delta | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct, gc=False):
    """One event of the stream. An ``error`` may come in place of all else, in many shapes."""

    model: str | None = None
    choices: list[Choice] | None = None
    usage: UsageBody | None = None
    error: Any = None


decode_chunk = msgspec.json.Decoder(Chunk).decode


def encode_request(request: ModelRequest, *, token_limit_field: str) -> bytes:
    """The body of ``POST /chat/completions``: always a stream, always with usage."""
    body: dict[str, object] = {
        "model": request.model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in request.tools
        ]
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.max_output_tokens is not None:
        body[token_limit_field] = request.max_output_tokens
    return msgspec.json.encode(body)


def _message(message: ChatMessage) -> Mapping[str, object]:
    body: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        body["content"] = message.content or None
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def describe_error(error: object, limit: int = 300) -> str:
    """One short line out of an error body, whatever its shape (OpenAI, FastAPI, plain text, HTML)."""
    found = error
    while isinstance(found, Mapping):
        found = next((found[key] for key in ("error", "message", "detail", "msg", "code") if found.get(key)), None)
    if isinstance(found, list) and found:
        return describe_error(found[0], limit)
    line = " ".join(str(found).split()) if found else ""
    return line if len(line) <= limit else line[: limit - 1] + "…"
