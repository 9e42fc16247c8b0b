"""What a model is asked, what it streams back, and what a provider actor can be asked.

`inference/<provider>` only admits and counts: tokens never pass through its mailbox. Use
`understudy.actors.inference.gateway.Inference`, which speaks this protocol for its caller.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import attrs

from understudy.runtime import Ask
from understudy.storage.records import Role, ToolCall, Usage

KIND = "inference"


def provider_address(provider: str) -> str:
    """The address of the provider's actor."""
    return f"{KIND}/{provider}"


@attrs.frozen
class ChatMessage:
    """One message of the conversation as the model sees it.

    An assistant's message may carry ``tool_calls``; a tool's message answers the call named by ``tool_call_id``.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@attrs.frozen
class ToolSpec:
    """A tool as offered to a model; ``parameters`` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, object]


@attrs.frozen
class ModelRef:
    """A model by its provider's name and its own."""

    provider: str
    model_id: str


@attrs.frozen
class ModelRequest:
    """One inference: which model, the whole conversation, the tools it may call. None leaves the provider's default.

    ``fallbacks`` are asked in order when a provider fails before its first word. ``endpoint`` is the URL of a server
    that is to be asked in place of the provider's own (see `understudy.actors.inference.endpoints`).
    ``thinking_tokens`` lets the model think that much before it answers, on top of ``max_output_tokens``; only `claude`
    and `gemini` can be told so.
    """

    provider: str
    model: str
    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    temperature: float | None = None
    max_output_tokens: int | None = None
    fallbacks: tuple[ModelRef, ...] = ()
    endpoint: str | None = None
    thinking_tokens: int | None = None


@attrs.frozen
class TextDelta:
    """A piece of the answer; never empty."""

    text: str


@attrs.frozen
class ToolCallStarted:
    """The model began to call a tool; `ToolCallCompleted` follows. ``index`` counts from 0 in each answer."""

    index: int
    id: str
    name: str


@attrs.frozen
class ToolCallCompleted:
    """The call is complete. ``arguments`` is the model's JSON text, not yet checked; see `as_call`."""

    index: int
    id: str
    name: str
    arguments: str

    def as_call(self) -> ToolCall:
        """The call as it is stored and run."""
        return ToolCall(self.id, self.name, self.arguments)


@attrs.frozen
class PromptCache:
    """How many tokens of the prompt the provider ``read`` from its cache, and how many it has ``written`` there.

    Both are part of ``Usage.prompt_tokens``; most providers bill them differently.
    """

    read: int = 0
    written: int = 0

    def __add__(self, other: "PromptCache") -> "PromptCache":
        """The sum of two rounds."""
        return PromptCache(self.read + other.read, self.written + other.written)


@attrs.frozen
class Finished:
    """The provider's own end marker: always the last event, and the only clean end.

    ``reason`` is ``stop``, ``length`` (the answer is as long as it may be, and perhaps not at its end), ``tool_calls``
    or the provider's own word. ``estimated`` says that the provider sent no usage and it was counted here as characters
    divided by four. ``provider`` is who answered, which may be a fallback; the gateway sets it.
    """

    reason: str
    usage: Usage
    model: str
    estimated: bool = False
    cache: PromptCache = PromptCache()
    provider: str | None = None


ModelEvent: TypeAlias = TextDelta | ToolCallStarted | ToolCallCompleted | Finished


class SettleOutcome(StrEnum):
    """How an admitted call ended."""

    SUCCEEDED = "succeeded"
    """The provider's end marker was seen."""
    FAILED = "failed"
    """The provider is at fault (5xx, 429, timeout, cut stream); counts for the circuit breaker."""
    REFUSED = "refused"
    """The provider said that the request is wrong (400, 401, 404): it works, so the breaker sees no failure."""
    ABANDONED = "abandoned"
    """The caller left (cancelled turn, killed actor, never took up its permit): says nothing about the provider."""


@attrs.frozen
class Permit:
    """Leave to call the provider until it is given back with `Settle`."""

    id: str


@attrs.frozen
class Admit(Ask[Permit]):
    """May I call this provider? Answered when a slot is free, in order of arrival, within the asker's deadline.

    The asker names the permit, so that it can give it back even when the answer never reached it. A permit not settled
    within ``lease`` seconds is taken back. Refused with `RateLimited` when too many wait already and with `CircuitOpen`
    while the provider is left alone.
    """

    permit_id: str
    lease: float = 900.0


@attrs.frozen
class Settle:
    """Give a permit back, granted or still waited for. Told, never asked; an unknown permit is ignored."""

    permit_id: str
    outcome: SettleOutcome
    error: str | None = None
    seconds: float = 0.0


@attrs.frozen
class ProviderState:
    """A provider's counters since its actor started. ``mean_seconds`` is over calls that succeeded."""

    provider: str
    circuit: str
    running: int
    waiting: int
    limit: int
    admitted: int
    turned_away: int
    succeeded: int
    failed: int
    refused: int
    abandoned: int
    mean_seconds: float
    last_error: str | None


@attrs.frozen
class ProviderStatus(Ask[ProviderState]):
    """How is this provider doing?"""


@attrs.frozen
class BreakerState:
    """A circuit breaker as it is shown.

    ``failures`` are those of the last minute or, once it has opened, those that opened it; ``successes`` are those in a
    row since it is half-open. ``next_attempt_at`` is when an open one will let a trial through.
    """

    provider: str
    state: str
    failures: int = 0
    successes: int = 0
    opened_at: datetime | None = None
    next_attempt_at: datetime | None = None
    last_error: str | None = None


@attrs.frozen
class BreakerStatus(Ask[BreakerState]):
    """Is this provider being left alone?"""
