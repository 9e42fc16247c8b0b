"""Chunks of a chat completion in, model events out: pure, so that every accent can be tested without a socket."""

from collections.abc import Sequence

import attrs
import msgspec

from understudy.actors.inference.ending import STOP, TOOL_CALLS, check_whole, cut_short
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.messages import (
    Finished,
    ModelEvent,
    ModelRequest,
    PromptCache,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
)
from understudy.actors.inference.openai_wire import (
    Choice,
    Delta,
    ToolCallDelta,
    UsageBody,
    decode_chunk,
)
from understudy.actors.inference.refusals import RETRYABLE, describe_error
from understudy.storage.records import Usage

_DONE = b"[DONE]"


@attrs.define
class _OpenCall:
    """A tool call whose arguments are still coming."""

    id: str
    name: str
    pieces: list[str]
    started: bool = False


class ChatAssembler:
    """Collects one streamed answer.

    Tool calls complete when the answer does: pieces may come interleaved, and only the end says that no more come.
    """

    def __init__(self, provider: str, request: ModelRequest) -> None:
        self._provider = provider
        self._request = request
        self._calls: list[_OpenCall] = []
        self._by_index: dict[int, _OpenCall] = {}
        self._reason: str | None = None
        self._usage: UsageBody | None = None
        self._model = request.model
        self._characters = 0
        self.done = False
        """``[DONE]`` was seen: nothing more will come."""
        self.thinking = False
        """The model was seen to reason; that is not part of its answer."""

    @property
    def complete(self) -> bool:
        """Whether the provider said in any way that its answer is whole."""
        return self.done or self._reason is not None

    def feed(self, data: bytes) -> Sequence[ModelEvent]:
        """The events of one SSE event. Raises `UpstreamFailed` for an error chunk and for what is not JSON."""
        if data == _DONE or data.strip() == _DONE:
            self.done = True
            return ()
        try:
            chunk = decode_chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            shown = describe_error(data.decode("utf-8", "replace"), 80)
            raise UpstreamFailed(f"{self._provider} sent something that is no chat chunk ({error}): {shown}") from error
        if chunk.error is not None:
            said = describe_error(chunk.error) or "no reason given"
            raise UpstreamFailed(f"{self._provider} failed during its answer: {said}", retryable=_may_pass(chunk.error))
        if chunk.usage is not None:
            self._usage = chunk.usage
        elif chunk.x_groq is not None and chunk.x_groq.usage is not None:
            self._usage = chunk.x_groq.usage
        if chunk.model:
            self._model = chunk.model
        if not chunk.choices:
            return ()
        choice = chunk.choices[0]
        if choice.index:  # not the answer we asked for
            return ()
        return self._choice(choice)

    def finish(self) -> Sequence[ModelEvent]:
        """The closing events. Raises `UpstreamFailed` when the provider never said that it was done."""
        if not self.complete:
            raise cut_short(self._provider)
        reason = self._reason or STOP
        if self._calls and reason in {STOP, "function_call", "tool_call"}:
            reason = TOOL_CALLS  # several servers say "stop" although calls follow
        arguments = ["".join(call.pieces).strip() or "{}" for call in self._calls]
        check_whole(self._provider, reason, spoke=self._characters > 0, arguments=arguments)
        events: list[ModelEvent] = []
        for index, call in enumerate(self._calls):
            if not call.name:
                raise UpstreamFailed(f"{self._provider} asked for a tool call without a name")
            if not call.started:
                events.append(ToolCallStarted(index, call.id, call.name))
            events.append(ToolCallCompleted(index, call.id, call.name, arguments[index]))
        events.append(self._finished(reason))
        return events

    def _finished(self, reason: str) -> Finished:
        usage = self._usage
        if usage is not None and usage.prompt_tokens is not None and usage.completion_tokens is not None:
            details = usage.prompt_tokens_details
            cache = PromptCache(read=(details and details.cached_tokens) or 0)
            return Finished(reason, Usage(usage.prompt_tokens, usage.completion_tokens), self._model, cache=cache)
        characters = self._characters + sum(len(piece) for call in self._calls for piece in call.pieces)
        guess = Usage(estimate_prompt(self._request), tokens_of(characters))
        if usage is not None:
            guess = Usage(
                guess.prompt_tokens if usage.prompt_tokens is None else usage.prompt_tokens,
                guess.completion_tokens if usage.completion_tokens is None else usage.completion_tokens,
            )
        return Finished(reason, guess, self._model, estimated=True)

    def _choice(self, choice: Choice) -> Sequence[ModelEvent]:
        if choice.finish_reason:
            self._reason = choice.finish_reason
        delta = choice.delta
        if delta is None:
            return ()
        if delta.reasoning or delta.reasoning_content:
            self.thinking = True
        text = delta.content if delta.content.__class__ is str else _text(delta)
        if not delta.tool_calls:
            if not text:
                return ()
            self._characters += len(text)
            return (TextDelta(text),)
        events: list[ModelEvent] = []
        if text:
            self._characters += len(text)
            events.append(TextDelta(text))
        for piece in delta.tool_calls:
            started = self._tool_call(piece)
            if started is not None:
                events.append(started)
        return events

    def _tool_call(self, piece: ToolCallDelta) -> ToolCallStarted | None:
        call = self._call_of(piece)
        function = piece.function
        if function is not None:
            if function.name and not call.started:
                call.name += function.name
            if isinstance(function.arguments, str):
                call.pieces.append(function.arguments)
            elif function.arguments is not None:
                call.pieces.append(msgspec.json.encode(function.arguments).decode())
        if call.started or not call.name:
            return None
        call.started = True
        return ToolCallStarted(self._calls.index(call), call.id, call.name)

    def _call_of(self, piece: ToolCallDelta) -> _OpenCall:
        if piece.index is not None:
            call = self._by_index.get(piece.index)
            if call is not None and piece.id and piece.id != call.id and piece.function and piece.function.name:
                call = None  # some servers number every call 0, and tell them apart by id alone
        elif piece.id:
            call = next((open_call for open_call in self._calls if open_call.id == piece.id), None)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None:
            call = _OpenCall(piece.id or f"call_{len(self._calls)}", "", [])
            self._calls.append(call)
            if piece.index is not None:
                self._by_index[piece.index] = call
        return call


def _may_pass(error: object) -> bool:
    """Whether an error that came inside a stream is one that another attempt may not meet."""
    code = error.get("code") if isinstance(error, dict) else None
    return code in RETRYABLE or (isinstance(code, str) and code in {"server_error", "rate_limit_exceeded"})


def _text(delta: Delta) -> str:
    if isinstance(delta.content, list):
        return "".join(part.text or "" for part in delta.content)
    return delta.content or delta.refusal or ""


def tokens_of(characters: int) -> int:
    """The usual rule of thumb: four characters are one token, rounded up."""
    return -(-characters // 4)


def estimate_prompt(request: ModelRequest) -> int:
    """About how many tokens the conversation and the tool descriptions are."""
    characters = sum(
        len(message.content) + sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
        for message in request.messages
    )
    return tokens_of(characters + sum(len(tool.name) + len(tool.description) for tool in request.tools))
