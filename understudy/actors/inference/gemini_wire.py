"""Gemini's generateContent format: how a conversation is written, and what the chunks of a stream may hold."""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from understudy.actors.inference.claude_wire import LEFT_OUT, arguments_of
from understudy.actors.inference.messages import ChatMessage, ModelRequest
from understudy.storage.records import Role

_WANTS_SIGNATURES = re.compile(r"gemini-(?:[3-9]|\d\d)")
_UNSIGNED = "skip_thought_signature_validator"  # Google's own word for a call that comes from elsewhere


class FunctionCall(msgspec.Struct, gc=False):
    """A whole call; most models give it no id."""

    name: str = ""
    args: dict[str, Any] | None = None
    id: str | None = None


class Part(msgspec.Struct, rename="camel", gc=False):
    """A piece of content. ``thought`` marks a summary of the model's thinking."""

    text: str | None = None
    thought: bool | None = None
    function_call: FunctionCall | None = None
    thought_signature: str | None = None


class Content(msgspec.Struct, gc=False):
    """The parts of one chunk."""

    parts: list[Part] | None = None


class Candidate(msgspec.Struct, rename="camel", gc=False):
    """One answer; we ask for one."""

    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = 0


class UsageMetadata(msgspec.Struct, rename="camel", gc=False):
    """Token counts; ``promptTokenCount`` includes the cached ones, ``candidatesTokenCount`` no thoughts."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None


class PromptFeedback(msgspec.Struct, rename="camel", gc=False):
    """Why a prompt gets no answer at all."""

    block_reason: str | None = None


class Chunk(msgspec.Struct, rename="camel", gc=False):
    """One event of the stream."""

    candidates: list[Candidate] | None = None
    usage_metadata: UsageMetadata | None = None
    prompt_feedback: PromptFeedback | None = None
    model_version: str | None = None
    error: Any = None


decode_chunk = msgspec.json.Decoder(Chunk).decode


def encode_request(request: ModelRequest, signature: Callable[[str], str | None]) -> dict[str, object]:
    """The body of ``POST …:streamGenerateContent``; *signature* is what came with a tool call and is wanted back."""
    system = "\n\n".join(m.content for m in request.messages if m.role is Role.SYSTEM and m.content)
    body: dict[str, object] = {"contents": _contents(request, signature)}
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    if request.tools:
        declared = [
            {
                "name": tool.name,
                "description": tool.description,
                "parametersJsonSchema": {"type": "object", **tool.parameters},
            }
            for tool in request.tools
        ]
        body["tools"] = [{"functionDeclarations": declared}]
    config: dict[str, object] = {}
    if request.temperature is not None:
        config["temperature"] = request.temperature
    if request.max_output_tokens is not None:
        config["maxOutputTokens"] = request.max_output_tokens
    if request.thinking_tokens is not None:
        config["thinkingConfig"] = {"thinkingBudget": request.thinking_tokens}
    if config:
        body["generationConfig"] = config
    return body


def _contents(request: ModelRequest, signature: Callable[[str], str | None]) -> list[dict[str, Any]]:
    names = {call.id: call.name for message in request.messages for call in message.tool_calls}
    strict = _WANTS_SIGNATURES.search(request.model) is not None
    contents: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role is Role.SYSTEM:
            continue
        role = "model" if message.role is Role.ASSISTANT else "user"
        parts = _parts(message, names, signature, strict=strict)
        if not parts:
            continue
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"].extend(parts)
        else:
            contents.append({"role": role, "parts": parts})
    if contents and contents[0]["role"] == "model":  # a conversation begins with the user's words, or is refused
        contents.insert(0, {"role": "user", "parts": [{"text": LEFT_OUT}]})
    return contents


def _parts(
    message: ChatMessage, names: dict[str, str], signature: Callable[[str], str | None], *, strict: bool
) -> list[dict[str, Any]]:
    if message.tool_call_id is not None:
        name = names.get(message.tool_call_id, "unknown")
        return [{"functionResponse": {"name": name, "response": {"result": message.content}}}]
    parts: list[dict[str, Any]] = [{"text": message.content}] if message.content else []
    for number, call in enumerate(message.tool_calls):
        part: dict[str, Any] = {"functionCall": {"name": call.name, "args": arguments_of(call)}}
        signed = signature(call.id)
        if signed is None and strict and number == 0:  # of calls side by side only the first is signed
            signed = _UNSIGNED
        if signed is not None:
            part["thoughtSignature"] = signed
        parts.append(part)
    return parts
