"""What a turn cost and how it went, noted while it goes and written with its end."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import msgspec
import trio

from understudy.actors.costs.prices import PriceBook
from understudy.actors.errors import DomainError, TurnCancelled
from understudy.actors.inference.assembler import estimate_prompt
from understudy.actors.inference.messages import Finished, ModelRequest, PromptCache
from understudy.actors.inference.retry import RetryBudget
from understudy.actors.secrecy import SECRET_FIELD
from understudy.actors.tools.messages import ToolResult
from understudy.storage.records import ToolCall, Usage, new_id
from understudy.storage.spending import Charge, Span, TurnTrace

MOST_ARGUMENTS = 4096
"""Characters of a tool call's arguments that its span shows."""
MOST_SPANS = 500

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_REDACTED = "[redacted]"


class Chronicle:
    """One turn's charges and spans. Nothing here blocks. ``traceparent`` is the asker's (W3C Trace Context)."""

    def __init__(
        self, prices: PriceBook, now: Callable[[], datetime], *, request_id: str | None, traceparent: str | None
    ) -> None:
        self._prices = prices
        self._now = now
        self._request_id = request_id
        self._parent = _TRACEPARENT.match(traceparent) if traceparent else None
        self._began = trio.current_time()
        self._spans: list[Span] = []
        self._charges: list[Charge] = []
        self._rounds = 0
        self._tool_calls = 0
        self.truncated = False
        """The model would have been let call more tools, had a limit of the turn not been reached."""

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What was spent so far."""
        return tuple(self._charges)

    def note(self, kind: str, since: float, **attributes: Any) -> None:
        """A span that ends now; *since* is on trio's clock."""
        if len(self._spans) < MOST_SPANS:
            took = trio.current_time() - since
            self._spans.append(Span(kind, round((since - self._began) * 1000, 3), round(took * 1000, 3), attributes))

    def inference(self, request: ModelRequest, retries: RetryBudget) -> "InferenceNote":
        """Note one inference: enter before the model is asked, leave when it is done."""
        self._rounds += 1
        return InferenceNote(self, request, retries)

    def charge(self, finished: Finished, tools: Sequence[str], request: ModelRequest) -> Charge:
        """Bill one inference. A model that answers by another name than it was asked by costs what either name does."""
        provider = finished.provider or request.provider
        cost = self._prices.cost(provider, finished.model, finished.usage, finished.cache)
        if cost.micros is None and provider == request.provider:
            cost = self._prices.cost(provider, request.model, finished.usage, finished.cache)
        charge = Charge(
            provider=provider,
            model=finished.model,
            usage=finished.usage,
            at=self._now(),
            cost=cost.micros,
            saved=cost.saved,
            cached_tokens=finished.cache.read,
            tools=tuple(tools),
            estimated=finished.estimated,
        )
        self._charges.append(charge)
        return charge

    def tool(self, since: float, call: ToolCall, result: ToolResult) -> None:
        """Note a tool's run."""
        self._tool_calls += 1
        self.note("tool", since, name=call.name, ok=result.ok, toolCallId=call.id, arguments=shown(call.arguments))

    def trace(self) -> TurnTrace:
        """All of it, in the order in which it began."""
        return TurnTrace(
            new_id("trc"),
            tuple(sorted(self._spans, key=lambda span: span.offset_ms)),
            request_id=self._request_id,
            trace_id=self._parent[1] if self._parent else None,
            parent_id=self._parent[2] if self._parent else None,
            rounds=self._rounds,
            tool_calls=self._tool_calls,
        )


class InferenceNote:
    """One inference under way.

    An answer that was cut short was paid for all the same: what came of it is billed as estimated, characters by four.
    """

    def __init__(self, chronicle: Chronicle, request: ModelRequest, retries: RetryBudget) -> None:
        self._chronicle = chronicle
        self._request = request
        self._retries = retries
        self._spent = retries.spent
        self._since = trio.current_time()
        self.finished: Finished | None = None
        self.text: list[str] = []
        self.tools: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        finished, request = self.finished, self._request
        if finished is None and (self.text or self.tools):
            usage = Usage(estimate_prompt(request), sum(map(len, self.text)) // 4)
            finished = Finished("cut", usage, request.model, estimated=True, cache=PromptCache())
        said: dict[str, Any] = {"provider": request.provider, "model": request.model}
        if finished is not None:
            charge = self._chronicle.charge(finished, self.tools, request)
            said = {
                "provider": charge.provider,
                "model": charge.model,
                "promptTokens": charge.usage.prompt_tokens,
                "completionTokens": charge.usage.completion_tokens,
                "cachedTokens": charge.cached_tokens,
                "costMicros": charge.cost,
                "estimated": charge.estimated,
                "finishReason": finished.reason,
                "toolCalls": len(self.tools),
            }
        if self._chronicle.truncated:
            said["truncatedRounds"] = True
        said["attempts"] = self._retries.spent - self._spent + 1
        if error is not None:
            said["error"] = error.code if isinstance(error, DomainError) else TurnCancelled.code
        self._chronicle.note("inference", self._since, **said)


def shown(arguments: str) -> str:
    """A call's arguments as they may be shown: what is named like a secret is not, and the rest is cut to 4 KB."""
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return "[no JSON]" if arguments.strip() else ""
    return msgspec.json.encode(_redacted(value)).decode()[:MOST_ARGUMENTS]


def _redacted(value: Any, depth: int = 0) -> Any:
    match value:
        case dict():
            return {
                name: _REDACTED if SECRET_FIELD.search(name) or depth > 20 else _redacted(inner, depth + 1)
                for name, inner in value.items()
            }
        case list():
            return [_redacted(inner, depth + 1) for inner in value] if depth <= 20 else _REDACTED
        case _:
            return value
