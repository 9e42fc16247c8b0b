"""Anthropic's Messages format: how a conversation is written, and what the events of a stream may hold."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from understudy.actors.inference.messages import ChatMessage, ModelRequest
from understudy.storage.records import Role, ToolCall

MAX_TOKENS = 4096
"""The longest answer when the request does not say: this API wants to be told."""

LEAST_THINKING = 1024
"""The smallest budget for thinking that the API takes."""
LEFT_OUT = "(earlier messages are left out)"
"""What stands for the user's words when the part of a conversation that fits begins with the model's."""

_CACHED: Mapping[str, object] = {"type": "ephemeral"}
_NO_ID = re.compile(r"[^a-zA-Z0-9_-]")

Block = dict[str, Any]


class UsageBody(msgspec.Struct, gc=False):
    """Token counts. Those read from and written to the prompt cache are not part of ``input_tokens``."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class MessageBody(msgspec.Struct, gc=False):
    """What ``message_start`` tells of the answer."""

    model: str | None = None
    usage: UsageBody | None = None


class BlockBody(msgspec.Struct, gc=False):
    """What ``content_block_start`` opens: text, thinking, redacted_thinking, tool_use or what is not used here."""

    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class DeltaBody(msgspec.Struct, gc=False):
    """What ``content_block_delta`` and ``message_delta`` add."""

    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None


class StreamEvent(msgspec.Struct, gc=False):
    """One event of the stream, of any type."""

    type: str
    index: int = 0
    message: MessageBody | None = None
    content_block: BlockBody | None = None
    delta: DeltaBody | None = None
    usage: UsageBody | None = None
    error: Any = None


decode_event = msgspec.json.Decoder(StreamEvent).decode


def encode_request(request: ModelRequest, thoughts: Callable[[str], Sequence[Block] | None]) -> dict[str, object]:
    """The body of ``POST /messages``, always a stream.

    *thoughts* gives the thinking that came with a tool call, which must stand before it when it is sent back. The end
    of the system prompt and of the conversation are marked for the prompt cache: the next round begins with the same.
    """
    system = "\n\n".join(m.content for m in request.messages if m.role is Role.SYSTEM and m.content.strip())
    messages = _conversation([m for m in request.messages if m.role is not Role.SYSTEM], thoughts)
    if messages:
        messages[-1]["content"][-1]["cache_control"] = _CACHED
    body: dict[str, object] = {
        "model": request.model,
        "max_tokens": request.max_output_tokens or MAX_TOKENS,
        "messages": messages,
        "stream": True,
    }
    if system:
        body["system"] = [{"type": "text", "text": system, "cache_control": _CACHED}]
    if request.thinking_tokens is not None and _may_think(request.messages, thoughts):
        # The limit is on both; and what thinks takes no temperature.
        budget = max(request.thinking_tokens, LEAST_THINKING)
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
        body["max_tokens"] = (request.max_output_tokens or MAX_TOKENS) + budget
    elif request.temperature is not None:
        body["temperature"] = min(request.temperature, 1.0)
    if request.tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": {"type": "object", **tool.parameters}}
            for tool in request.tools
        ]
    elif used := dict.fromkeys(call.name for message in request.messages for call in message.tool_calls):
        # A conversation with calls in it is refused unless their tools are declared; they need not be offered.
        body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in used]
        body["tool_choice"] = {"type": "none"}
    return body


def _may_think(messages: Sequence[ChatMessage], thoughts: Callable[[str], Sequence[Block] | None]) -> bool:
    """Not in the middle of a turn whose calls came without thinking, or whose thinking is gone: that is refused."""
    for message in reversed(messages):
        if message.role is Role.USER:
            break
        if message.tool_calls and not thoughts(message.tool_calls[0].id):
            return False
    return True


def _conversation(
    messages: Sequence[ChatMessage], thoughts: Callable[[str], Sequence[Block] | None]
) -> list[dict[str, Any]]:
    """Alternating messages of blocks, the user's first; results of tools are blocks of the user's."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = _blocks(message, thoughts)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": LEFT_OUT}]})
    return turns


def _blocks(message: ChatMessage, thoughts: Callable[[str], Sequence[Block] | None]) -> list[Block]:
    if message.tool_call_id is not None:
        result: Block = {"type": "tool_result", "tool_use_id": _call_id(message.tool_call_id)}
        if message.content.strip():
            result["content"] = message.content
        return [result]
    # Text of nothing but space is refused.
    blocks: list[Block] = [{"type": "text", "text": message.content}] if message.content.strip() else []
    if message.tool_calls:
        blocks = [*(thoughts(message.tool_calls[0].id) or ()), *blocks, *map(_tool_use, message.tool_calls)]
    return blocks


def _tool_use(call: ToolCall) -> Block:
    return {"type": "tool_use", "id": _call_id(call.id), "name": call.name, "input": arguments_of(call)}


def _call_id(call_id: str) -> str:
    return _NO_ID.sub("_", call_id)


def arguments_of(call: ToolCall) -> Mapping[str, object]:
    """The arguments as an object, which is all that may be sent back; what was none is wrapped in one."""
    try:
        found = msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        found = call.arguments
    return found if isinstance(found, dict) else {"arguments": found}
