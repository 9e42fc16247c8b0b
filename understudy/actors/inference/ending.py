"""When an answer counts as whole, whatever the dialect: rules that every assembler ends with."""

from collections.abc import Iterable

import msgspec

from understudy.actors.inference.errors import UpstreamFailed

STOP = "stop"
LENGTH = "length"
TOOL_CALLS = "tool_calls"
CONTENT_FILTER = "content_filter"


def cut_short(provider: str) -> UpstreamFailed:
    """The stream ended and the provider never said that it was done."""
    return UpstreamFailed(f"{provider} cut its answer short: the stream ended without an end marker", retryable=True)


def check_whole(provider: str, reason: str, *, spoke: bool, arguments: Iterable[str]) -> None:
    """Raise `UpstreamFailed` when an answer that ended for *reason* must not pass for a success.

    *spoke*: it has text; *arguments* are those of its tool calls.
    """
    calls = list(arguments)
    if reason == CONTENT_FILTER:
        raise UpstreamFailed(f"{provider} withheld its answer, or the rest of it (content filter)", at_fault=False)
    if reason == "error":
        raise UpstreamFailed(f"{provider} failed during its answer and gave no reason", retryable=True)
    if reason == LENGTH and calls and not _is_json(calls[-1]):
        raise UpstreamFailed(f"{provider} reached the token limit in the middle of a tool call", at_fault=False)
    if spoke or calls:
        return
    if reason == LENGTH:
        raise UpstreamFailed(f"{provider} reached the token limit before the first word of its answer", at_fault=False)
    raise UpstreamFailed(f"{provider} gave an empty answer", retryable=True)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True
