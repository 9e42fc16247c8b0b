"""What the model is told: who it is, and the conversation so far, as much of it as fits."""

from collections.abc import Sequence
from datetime import datetime

from understudy.actors.agents.config import AgentConfig
from understudy.actors.inference.messages import ChatMessage
from understudy.storage.records import Message, Role

HISTORY_LIMIT = 400
"""Messages of a conversation that are kept at hand; older ones are not sent to the model."""

MAX_CHARACTERS = 400_000
"""About 100,000 tokens, counted as characters divided by four."""

_NEVER_SENT = frozenset({"rolled_back"})


def build_context(config: AgentConfig, history: Sequence[Message], now: datetime) -> tuple[ChatMessage, ...]:
    """The messages of one inference: the system prompt, then the newest part of *history* that fits.

    A tool's result is never sent without the call it answers.
    """
    kept: list[Message] = []
    room = MAX_CHARACTERS - len(config.system_prompt)
    for message in reversed(history):
        if message.status in _NEVER_SENT or not (message.content or message.tool_calls):
            continue
        room -= len(message.content) + sum(len(call.arguments) for call in message.tool_calls)
        if room < 0 and kept:
            break
        kept.append(message)
    kept.reverse()
    while kept and kept[0].role is Role.TOOL:
        kept.pop(0)
    system = f"{config.system_prompt}\n\nToday is {now:%A, %d %B %Y}."
    return (
        ChatMessage(Role.SYSTEM, system),
        *(ChatMessage(m.role, m.content, m.tool_calls, m.tool_call_id) for m in kept),
    )
