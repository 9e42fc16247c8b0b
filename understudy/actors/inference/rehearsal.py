"""`builtin/rehearsal`: a stand-in that needs no key and no network, and never claims to be a language model.

It plays a provider's part exactly: streams word by word, asks for tools by plain rules, reads their results in the next
round, counts usage. The same conversation always gives the same answer, so everything above it can be tried for real.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import trio

from understudy.actors.cutting import one_line
from understudy.actors.inference.assembler import estimate_prompt, tokens_of
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.messages import (
    ChatMessage,
    Finished,
    ModelEvent,
    ModelRequest,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
)
from understudy.storage.records import Role, Usage

PROVIDER = "builtin"
MODEL = "rehearsal"

Wish = tuple[str, dict[str, str]]
"""A tool the text asks for, with its arguments."""

_URL = re.compile(r"https?://[^\s<>\"'`]+")
_ZONE = re.compile(r"\b(?:UTC|[A-Z][A-Za-z]+(?:/[A-Z][A-Za-z_]+){1,2})\b")
_ASKS_TIME = re.compile(
    r"\b(?:what(?:'s| is)?|which|tell me|current|know)\b.*\b(?:time|date|day|weekday|year)\b"
    r"|\btime is it\b|\btoday's date\b",
    re.IGNORECASE | re.DOTALL,
)
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b|\b\d{1,2}:\d{2}\b")
_WORDS = (
    (re.compile(r"(?<=[\d)])\s*(?:multiplied by|times|\u00d7)\s*(?=[\d(-])", re.IGNORECASE), " * "),
    (re.compile(r"(?<=[\d)])\s*(?:divided by|over|\u00f7)\s*(?=[\d(-])", re.IGNORECASE), " / "),
    (re.compile(r"(?<=[\d)])\s*plus\s*(?=[\d(-])", re.IGNORECASE), " + "),
    (re.compile(r"(?<=[\d)])\s*minus\s*(?=[\d(-])", re.IGNORECASE), " - "),
    (re.compile(r"(?<=[\d)])\s*(?:to the power of|\^)\s*(?=[\d(-])", re.IGNORECASE), " ** "),
)
_TELLS = re.compile(
    # what is to be remembered ends with the sentence, or where another wish begins
    r"(?<!you )(?<!I )\b(?:remember|don't forget|note)(?:\s+that\b|\s*:)\s*(.+?)"
    r"(?=[.!?](?:\s|$)|\n|,?\s+and\s+(?:what|who|when|where|which|how|tell|calculate|read)\b|$)",
    re.IGNORECASE,
)
_ASKS_MEMORY = re.compile(
    r"\b(?:do|can) you (?:remember|recall|know (?:about me|my|what i))\b"
    r"|\bknow about me\b"
    r"|\b(?:what|which|who|where|when)\b[^.?!,;]{0,40}?\b(?:do|did|am|is|are|was|were)\s+(?:i|my)\b",
    re.IGNORECASE,
)
_ENDS = re.compile(r"(?<=[.!?])\s+|\n+")
MOST_ASKED = 500
MOST_READ = 4_000
"""Characters of a message in which something may be asked for."""
# Possessive, and begun where a run begins: else a message of digits alone would hold up everybody for minutes.
_NUMBER = r"(?:\d[\d_]*+(?:\.\d++)?+)"
_SUM = re.compile(rf"(?<![(\s\d])(?<!\d_)[(\s]*+-?{_NUMBER}\)*+(?:\s*+(?:\*\*|[-+*/%])\s*+[(\s-]*+{_NUMBER}\)*+)++")


def _urls(text: str) -> list[Wish]:
    return [("http_get", {"url": url.rstrip(".,;:!?)]}")}) for url in _URL.findall(text)]


def _sums(text: str) -> list[Wish]:
    text = _DATE.sub(" ", _URL.sub(" ", text))
    for pattern, sign in _WORDS:
        text = pattern.sub(sign, text)
    return [("calculator", {"expression": found.strip()}) for found in _SUM.findall(text)]


def _memories(text: str) -> list[Wish]:
    told = (found.strip(" ,;.!?") for found in _TELLS.findall(text))
    return [("memory_write", {"content": content}) for content in told if content]


def _recollections(text: str) -> list[Wish]:
    asked = [sentence.strip() for sentence in _ENDS.split(_TELLS.sub(" ", text)) if _ASKS_MEMORY.search(sentence)]
    return [("memory_search", {"query": sentence[:MOST_ASKED]}) for sentence in asked]


def _times(text: str) -> list[Wish]:
    if not _ASKS_TIME.search(text):
        return []
    zones = _ZONE.findall(_URL.sub(" ", text))
    return [("datetime_now", {"timezone": zone}) for zone in zones] or [("datetime_now", {})]


RULES: tuple[Callable[[str], list[Wish]], ...] = (_urls, _sums, _times, _memories, _recollections)
"""What the text asks for, in the order in which the tools are called: one each round, as a cautious model would."""


class Rehearsal:
    """The built-in provider. *delay* is the time between two words in seconds, so that streaming can be seen."""

    def __init__(self, *, delay: float = 0.004) -> None:
        self._delay = delay

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """See `ModelClient.stream`."""
        await trio.lowlevel.checkpoint()
        if request.model != MODEL:
            raise UpstreamFailed(
                f"{PROVIDER} has one model, {MODEL!r}; it knows no {request.model!r}", status=404, at_fault=False
            )
        yield _Performance(perform(request), self._delay)

    async def aclose(self) -> None:
        """Nothing is held."""
        await trio.lowlevel.checkpoint()


class _Performance:
    """Events, one at a time, a short breath between them."""

    def __init__(self, events: Sequence[ModelEvent], delay: float) -> None:
        self._events = iter(events)
        self._delay = delay

    def __aiter__(self) -> "_Performance":
        return self

    async def __anext__(self) -> ModelEvent:
        for event in self._events:
            await trio.sleep(self._delay)
            return event
        raise StopAsyncIteration


def perform(request: ModelRequest) -> list[ModelEvent]:
    """The whole answer to *request*: a tool call when one is wished for and offered, else words."""
    asked, since = _scene(request.messages)
    offered = {tool.name for tool in request.tools}
    answered = [message for message in since if message.role == Role.TOOL]
    wishes = [wish for rule in RULES for wish in rule(asked[:MOST_READ]) if wish[0] in offered]
    prompt = estimate_prompt(request)
    if len(answered) < len(wishes):
        name, arguments = wishes[len(answered)]
        call_id = f"call_{len(request.messages)}_{len(answered)}"
        text = msgspec.json.encode(arguments).decode()
        usage = Usage(prompt, tokens_of(len(name) + len(text)))
        return [
            ToolCallStarted(0, call_id, name),
            ToolCallCompleted(0, call_id, name, text),
            Finished("tool_calls", usage, MODEL),
        ]
    words = re.findall(r"\S+\s*", _speech(request, asked, since, answered))
    reason = "stop"
    if request.max_output_tokens is not None:
        spoken, room = [], request.max_output_tokens * 4
        for word in words:
            room -= len(word)
            if room < 0:
                reason = "length"
                break
            spoken.append(word)
        words = spoken
    usage = Usage(prompt, tokens_of(sum(map(len, words))))
    return [*map(TextDelta, words), Finished(reason, usage, MODEL)]


def _scene(messages: Sequence[ChatMessage]) -> tuple[str, Sequence[ChatMessage]]:
    """What the user said last, and what has happened since."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == Role.USER:
            return messages[at].content, messages[at + 1 :]
    return "", ()


def _speech(request: ModelRequest, asked: str, since: Sequence[ChatMessage], answered: Sequence[ChatMessage]) -> str:
    opening = "This is the rehearsal, a built-in stand-in and no language model."
    if answered:
        names = {call.id: call.name for message in since for call in message.tool_calls}
        said = [
            f"{names.get(message.tool_call_id or '', 'the tool')} gave: {one_line(message.content, 400)}"
            for message in answered
        ]
        return f"{opening} I used {len(said)} tool{'s' if len(said) > 1 else ''}.\n" + "\n".join(said)
    turn = sum(message.role == Role.USER for message in request.messages)
    heard = f"You said “{one_line(asked, 200)}”" if asked.strip() else "You said nothing"
    return (
        f"{opening} {heard}, which is message {turn} of our conversation. "
        "I can stream, call tools and remember what was said before; "
        "for answers that think, configure a provider, for example with OPENAI_API_KEY."
    )
