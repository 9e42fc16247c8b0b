"""The `claude` provider: Anthropic's Messages API, natively."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs
import msgspec

from understudy.actors.inference.assembler import estimate_prompt, tokens_of
from understudy.actors.inference.claude_wire import (
    Block,
    BlockBody,
    DeltaBody,
    StreamEvent,
    UsageBody,
    decode_event,
    encode_request,
)
from understudy.actors.inference.ending import CONTENT_FILTER, LENGTH, STOP, TOOL_CALLS, check_whole, cut_short
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.keepsakes import Keepsakes
from understudy.actors.inference.messages import (
    Finished,
    ModelEvent,
    ModelRequest,
    PromptCache,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
)
from understudy.actors.inference.refusals import describe_error
from understudy.actors.inference.timeouts import Timeouts
from understudy.actors.inference.upstream import Call, Instead, StreamingClient
from understudy.actors.outbound.http1 import Http1Client
from understudy.storage.records import Usage

DEFAULT_BASE_URL = "https://api.anthropic.com/v1"
VERSION = b"2023-06-01"

REASONS = {
    "end_turn": STOP,
    "stop_sequence": STOP,
    "max_tokens": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "tool_use": TOOL_CALLS,
    "refusal": CONTENT_FILTER,
}
_PASSING = frozenset({"overloaded_error", "api_error", "rate_limit_error", "timeout_error"})

Thoughts = Keepsakes[Sequence[Block]]


class ClaudeClient(StreamingClient):
    """Speaks the Messages API to one base URL with one key. *name* is what errors call the provider."""

    # Newer models judge for themselves how long to think, and refuse to be given a budget.
    NEGOTIABLE: ClassVar[Mapping[str, Instead]] = {"temperature": None, "thinking": {"type": "adaptive"}}

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str | None = None,
        *,
        name: str = "claude",
        timeouts: Timeouts | None = None,
        http: Http1Client | None = None,
    ) -> None:
        auth = [(b"anthropic-version", VERSION)]
        if api_key:
            auth.append((b"x-api-key", api_key.encode()))
        super().__init__(base_url, api_key, name=name, auth=auth, timeouts=timeouts, http=http)
        self._target = f"{self._path}/messages".encode()
        self._thoughts: Thoughts = Keepsakes()

    def _call(self, request: ModelRequest) -> Call:
        body = encode_request(request, self._thoughts.of)
        return Call(self._target, body, MessageAssembler(self._name, request, self._thoughts))


@attrs.define
class _OpenCall:
    """A tool call whose arguments are still coming."""

    id: str
    name: str
    pieces: list[str]

    @property
    def arguments(self) -> str:
        """The JSON text so far."""
        return "".join(self.pieces).strip() or "{}"


class MessageAssembler:
    """Collects one streamed message: text goes out as it comes, thinking stays inside, calls complete at the end.

    Thinking that led to tool calls is put into *thoughts*, for the model wants it back with their results.
    """

    def __init__(self, provider: str, request: ModelRequest, thoughts: Thoughts) -> None:
        self._provider = provider
        self._request = request
        self._keep = thoughts
        self._calls: dict[int, _OpenCall] = {}
        self._thought: dict[int, Block] = {}
        self._reason: str | None = None
        self._model = request.model
        self._usage = UsageBody()
        self._characters = 0
        self.done = False
        """``message_stop`` was seen."""
        self.thinking = False
        """The model was seen to think."""

    @property
    def complete(self) -> bool:
        """Whether the message's end was told: by its stop reason, or by the stop itself."""
        return self.done or self._reason is not None

    def feed(self, data: bytes) -> Sequence[ModelEvent]:
        """The events of one SSE event; unknown types are skipped, as the API's versioning policy asks for."""
        try:
            event = decode_event(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            shown = describe_error(data.decode("utf-8", "replace"), 80)
            raise UpstreamFailed(f"{self._provider} sent something that is no event ({error}): {shown}") from error
        match event.type:
            case "content_block_delta" if event.delta is not None:
                return self._delta(event.index, event.delta)
            case "content_block_start" if event.content_block is not None:
                return self._open(event.index, event.content_block)
            case "message_start" if event.message is not None:
                self._model = event.message.model or self._model
                self._count(event.message.usage)
            case "message_delta":
                if event.delta is not None and event.delta.stop_reason:
                    self._reason = event.delta.stop_reason
                self._count(event.usage)
            case "message_stop":
                self.done = True
            case "error":
                raise self._failed(event)
            case _:
                pass
        return ()

    def finish(self) -> Sequence[ModelEvent]:
        """The closing events. Raises `UpstreamFailed` when the message is not whole."""
        if not self.complete:
            raise cut_short(self._provider)
        reason = TOOL_CALLS if self._calls else STOP
        if self._reason is not None:
            reason = REASONS.get(self._reason, self._reason)
        calls = list(self._calls.values())
        check_whole(self._provider, reason, spoke=self._characters > 0, arguments=[call.arguments for call in calls])
        if calls and self._thought:
            self._keep.keep(calls[0].id, tuple(self._thought.values()))
        completed = [ToolCallCompleted(at, call.id, call.name, call.arguments) for at, call in enumerate(calls)]
        return [*completed, self._finished(reason)]

    def _delta(self, index: int, delta: DeltaBody) -> Sequence[ModelEvent]:
        if delta.text:
            self._characters += len(delta.text)
            return (TextDelta(delta.text),)
        if delta.partial_json and index in self._calls:
            self._calls[index].pieces.append(delta.partial_json)
        elif index in self._thought:
            thought = self._thought[index]
            for field, more in (("thinking", delta.thinking), ("signature", delta.signature)):
                if more:
                    thought[field] = thought.get(field, "") + more
        return ()

    def _open(self, index: int, block: BlockBody) -> Sequence[ModelEvent]:
        match block.type:
            case "text" if block.text:
                self._characters += len(block.text)
                return (TextDelta(block.text),)
            case "tool_use":
                if not block.name:
                    raise UpstreamFailed(f"{self._provider} asked for a tool call without a name")
                number = len(self._calls)
                # Some servers of this form send the arguments whole, here, and no deltas.
                whole = [msgspec.json.encode(block.input).decode()] if block.input else []
                call = self._calls[index] = _OpenCall(block.id or f"call_{number}", block.name, whole)
                return (ToolCallStarted(number, call.id, call.name),)
            case "thinking":
                self.thinking = True
                self._thought[index] = {
                    "type": "thinking",
                    "thinking": block.thinking or "",
                    "signature": block.signature or "",
                }
            case "redacted_thinking":
                self.thinking = True
                self._thought[index] = {"type": "redacted_thinking", "data": block.data or ""}
            case _:
                pass
        return ()

    def _count(self, usage: UsageBody | None) -> None:
        """Take over what is told; later counts are totals, not additions."""
        if usage is not None:
            mine = self._usage
            for field in usage.__struct_fields__:
                told = getattr(usage, field)
                if told is not None:
                    setattr(mine, field, told)

    def _finished(self, reason: str) -> Finished:
        usage = self._usage
        cache = PromptCache(usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0)
        if usage.input_tokens is not None and usage.output_tokens is not None:
            prompt = usage.input_tokens + cache.read + cache.written
            return Finished(reason, Usage(prompt, usage.output_tokens), self._model, cache=cache)
        characters = self._characters + sum(len(call.arguments) for call in self._calls.values())
        guess = Usage(estimate_prompt(self._request), tokens_of(characters))
        return Finished(reason, guess, self._model, estimated=True)

    def _failed(self, event: StreamEvent) -> UpstreamFailed:
        said = describe_error(event.error) or "no reason given"
        kind = event.error.get("type") if isinstance(event.error, dict) else None
        return UpstreamFailed(f"{self._provider} failed during its answer: {said}", retryable=kind in _PASSING)
