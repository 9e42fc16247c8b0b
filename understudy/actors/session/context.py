"""What the model is told: who it is, and the conversation so far, as much of it as fits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from zoneinfo import ZoneInfo

from understudy.actors.agents.config import AgentConfig
from understudy.actors.agents.template import placeholders, render
from understudy.actors.inference.messages import ChatMessage
from understudy.storage.records import Message, Role, SessionKey

HISTORY_LIMIT = 400
"""Messages of a conversation that are kept at hand; older ones are not sent to the model."""

MAX_CHARACTERS = 400_000
"""About 100,000 tokens, counted as characters divided by four."""

NOTHING_KNOWN: Mapping[str, str] = MappingProxyType({})

_NEVER_SENT = frozenset({"rolled_back"})


def build_context(
    config: AgentConfig,
    history: Sequence[Message],
    now: datetime,
    key: SessionKey | None = None,
    known: Mapping[str, str] = NOTHING_KNOWN,
) -> tuple[ChatMessage, ...]:
    """The messages of one inference: the system prompt, then the newest part of *history* that fits.

    *key* says whose conversation it is, and *known* what is remembered, for prompts that ask. A tool's result is never
    sent without the call it answers.
    """
    kept: list[Message] = []
    system = system_prompt(config, now, key, known)
    room = MAX_CHARACTERS - len(system)
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
    return (
        ChatMessage(Role.SYSTEM, system),
        *(ChatMessage(m.role, m.content, m.tool_calls, m.tool_call_id) for m in kept),
    )


def system_prompt(
    config: AgentConfig, now: datetime, key: SessionKey | None = None, known: Mapping[str, str] = NOTHING_KNOWN
) -> str:
    """The agent's prompt with its placeholders filled in, then its skills' texts as they are.

    With the date at its end, unless the prompt says it itself.
    """
    local = now.astimezone(ZoneInfo(config.timezone))
    today = f"{local:%A, %d %B %Y}"
    values = {
        **known,
        "date": today,
        "time": f"{local:%H:%M}",
        "timezone": config.timezone,
        "user.id": key.uid if key is not None else "",
        "agent.id": config.id,
        "agent.displayName": config.display_name,
        "workspace.id": key.workspace_id if key is not None else "",
        "workspace.displayName": config.workspace_name or "",
    }
    prompt = "\n\n".join((render(config.system_prompt, values), *config.instructions))
    return prompt if "date" in placeholders(config.system_prompt) else f"{prompt}\n\nToday is {today}."
