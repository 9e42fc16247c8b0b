"""The `gemini` provider: Google's generateContent API, natively.

Google also offers an OpenAI form of it, which understudy speaks when the base URL ends in ``/openai``. The native one
is the default: only there do tool calls keep their thought signatures, without which newer models refuse their results.
"""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from understudy.actors.inference.assembler import estimate_prompt, tokens_of
from understudy.actors.inference.ending import CONTENT_FILTER, LENGTH, STOP, TOOL_CALLS, check_whole, cut_short
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.gemini_wire import Candidate, Part, UsageMetadata, decode_chunk, encode_request
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
from understudy.actors.inference.refusals import RETRYABLE, describe_error
from understudy.actors.inference.timeouts import Timeouts
from understudy.actors.inference.upstream import Call, StreamingClient
from understudy.actors.outbound.http1 import Http1Client
from understudy.storage.records import Usage, new_id

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com/v1beta"

_WITHHELD = frozenset(
    {"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_RECITATION"}
)
_BROKEN = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "OTHER"})


class GeminiClient(StreamingClient):
    """Speaks generateContent to one base URL with one key. *name* is what errors call the provider."""

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str | None = None,
        *,
        name: str = "gemini",
        timeouts: Timeouts | None = None,
        http: Http1Client | None = None,
    ) -> None:
        auth = [(b"x-goog-api-key", api_key.encode())] if api_key else []
        super().__init__(base_url, api_key, name=name, auth=auth, timeouts=timeouts, http=http)
        self._signatures: Keepsakes[str] = Keepsakes()

    def _call(self, request: ModelRequest) -> Call:
        model = quote(request.model.removeprefix("models/"), safe="")
        target = f"{self._path}/models/{model}:streamGenerateContent?alt=sse".encode()
        body = encode_request(request, self._signatures.of)
        return Call(target, body, ContentAssembler(self._name, request, self._signatures))


class ContentAssembler:
    """Collects one streamed answer. Calls come whole, but count only once the answer has ended well.

    There is no end marker behind the finish reason: the stream just ends.
    """

    def __init__(self, provider: str, request: ModelRequest, signatures: Keepsakes[str]) -> None:
        self._provider = provider
        self._request = request
        self._signatures = signatures
        self._calls: list[ToolCallCompleted] = []
        self._reason: str | None = None
        self._usage: UsageMetadata | None = None
        self._model = request.model
        self._characters = 0
        self.done = False
        """Never told by this API."""
        self.thinking = False
        """The model was seen to think."""

    @property
    def complete(self) -> bool:
        """Whether the finish reason was told."""
        return self._reason is not None

    def feed(self, data: bytes) -> Sequence[ModelEvent]:
        """The events of one SSE event. Raises `UpstreamFailed` for an error and for what is not JSON."""
        try:
            chunk = decode_chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            shown = describe_error(data.decode("utf-8", "replace"), 80)
            raise UpstreamFailed(f"{self._provider} sent something that is no chunk ({error}): {shown}") from error
        if chunk.error is not None:
            code = chunk.error.get("code") if isinstance(chunk.error, dict) else None
            said = describe_error(chunk.error) or "no reason given"
            raise UpstreamFailed(f"{self._provider} failed during its answer: {said}", retryable=code in RETRYABLE)
        if chunk.usage_metadata is not None:
            self._usage = chunk.usage_metadata
        if chunk.model_version:
            self._model = chunk.model_version
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            reason = chunk.prompt_feedback.block_reason
            raise UpstreamFailed(f"{self._provider} refused the prompt ({reason})", at_fault=False)
        if not chunk.candidates:
            return ()
        return self._candidate(chunk.candidates[0])

    def finish(self) -> Sequence[ModelEvent]:
        """The closing events. Raises `UpstreamFailed` when the answer is not whole."""
        if self._reason is None:
            raise cut_short(self._provider)
        reason = self._reason
        if self._calls and reason == STOP:
            reason = TOOL_CALLS
        arguments = [call.arguments for call in self._calls]
        check_whole(self._provider, reason, spoke=self._characters > 0, arguments=arguments)
        return [*self._calls, self._finished(reason)]

    def _candidate(self, candidate: Candidate) -> Sequence[ModelEvent]:
        if candidate.index:  # not the answer we asked for
            return ()
        events: list[ModelEvent] = []
        for part in (candidate.content and candidate.content.parts) or ():
            events.extend(self._part(part))
        told = candidate.finish_reason
        if told in _BROKEN:
            said = describe_error(candidate.finish_message) or told
            raise UpstreamFailed(f"{self._provider} failed during its answer: {said}", retryable=True)
        if told and told != "FINISH_REASON_UNSPECIFIED":
            known = {"STOP": STOP, "MAX_TOKENS": LENGTH} | dict.fromkeys(_WITHHELD, CONTENT_FILTER)
            self._reason = known.get(told, told.lower())
        return events

    def _part(self, part: Part) -> Sequence[ModelEvent]:
        if part.thought:
            self.thinking = True
            return ()
        if part.function_call is not None:
            call = part.function_call
            if not call.name:
                raise UpstreamFailed(f"{self._provider} asked for a tool call without a name")
            arguments = msgspec.json.encode(call.args or {}).decode()
            made = ToolCallCompleted(len(self._calls), call.id or new_id("call"), call.name, arguments)
            self._calls.append(made)
            if part.thought_signature:
                self._signatures.keep(made.id, part.thought_signature)
            return (ToolCallStarted(made.index, made.id, made.name),)
        if part.text:
            self._characters += len(part.text)
            return (TextDelta(part.text),)
        return ()

    def _finished(self, reason: str) -> Finished:
        usage = self._usage
        if usage is not None and usage.prompt_token_count is not None:
            spent = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
            cache = PromptCache(read=usage.cached_content_token_count or 0)
            return Finished(reason, Usage(usage.prompt_token_count, spent), self._model, cache=cache)
        characters = self._characters + sum(len(call.arguments) for call in self._calls)
        guess = Usage(estimate_prompt(self._request), tokens_of(characters))
        return Finished(reason, guess, self._model, estimated=True)
