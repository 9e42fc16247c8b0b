"""The OpenAI chat-completions format: what is sent, and what the chunks of a stream may hold.

Many servers speak it with an accent. Whatever may be missing has a default here, what may be null is nullable, and
what is not needed is not declared: msgspec skips it without building it.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from understudy.actors.inference.messages import ChatMessage, ModelRequest
from understudy.storage.records import ToolCall

_SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}")


class PromptDetails(msgspec.Struct, gc=False):
    """What of the prompt came from the provider's cache."""

    cached_tokens: int | None = None


class UsageBody(msgspec.Struct, gc=False):
    """Token counts; some servers send null for one of them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class GroqBody(msgspec.Struct, gc=False):
    """Where Groq puts the usage."""

    usage: UsageBody | None = None


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
    """What one chunk adds. ``refusal`` is text in place of content; ``reasoning``, by two names, is not shown."""

    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCallDelta] | None = None
    refusal: str | None = None
    reasoning: Any = None
    reasoning_content: Any = None


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
    x_groq: GroqBody | None = None
    error: Any = None


decode_chunk = msgspec.json.Decoder(Chunk).decode


@attrs.frozen
class Accent:
    """How one server's form differs from the common one.

    Attributes:
        limit_field: what it calls the most tokens to answer with.
        stream_options: whether it knows them; one that does not sends its usage unasked.
        short_call_ids: tool calls must be named by nine letters or digits, whoever named them first.
    """

    limit_field: str = "max_tokens"
    stream_options: bool = True
    short_call_ids: bool = False

    @classmethod
    def of(cls, host: str) -> "Accent":
        """The accent of the server at *host*, as far as it is known beforehand."""
        if host == "api.openai.com":
            return cls(limit_field="max_completion_tokens")
        if host == "mistral.ai" or host.endswith(".mistral.ai"):
            return cls(stream_options=False, short_call_ids=True)
        return cls()


def encode_request(request: ModelRequest, accent: Accent) -> dict[str, object]:
    """The body of ``POST /chat/completions``: always a stream, with usage."""
    body: dict[str, object] = {
        "model": request.model,
        "messages": [_message(message, accent) for message in request.messages],
        "stream": True,
    }
    if accent.stream_options:
        body["stream_options"] = {"include_usage": True}
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
        body[accent.limit_field] = request.max_output_tokens
    return body


def _message(message: ChatMessage, accent: Accent) -> Mapping[str, object]:
    body: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        body["content"] = message.content or None
        body["tool_calls"] = [_call(call, accent) for call in message.tool_calls]
    if message.tool_call_id is not None:
        body["tool_call_id"] = _call_id(message.tool_call_id, accent)
    return body


def _call(call: ToolCall, accent: Accent) -> Mapping[str, object]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": _call_id(call.id, accent), "type": "function", "function": function}


def _call_id(call_id: str, accent: Accent) -> str:
    """*call_id* as this server takes it: the same one always becomes the same."""
    if not accent.short_call_ids or _SHORT_ID.fullmatch(call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]
