"""What the model is told: the layers of the context in their order, as much of them as fits.

    1  the house rules       `understudy.actors.session.ground`, the same for everybody
    2  the workspace's files likewise
    3  the agent's prompt    with its skills' texts
    4  what is remembered    where the prompt asks for it
    5  the conversation      a summary of its beginning first, once there is one

What seldom changes comes first, so that providers' prompt caches hit. Pure: nothing here blocks.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from zoneinfo import ZoneInfo

import attrs
import msgspec

from understudy.actors.agents.config import AgentConfig
from understudy.actors.agents.template import placeholders, render
from understudy.actors.errors import ContextTooLarge
from understudy.actors.inference.messages import ChatMessage, ToolSpec
from understudy.storage.records import Message, Role, SessionKey

HISTORY_LIMIT = 400
"""Messages of a conversation that are kept at hand; older ones are not sent to the model."""

CHARACTERS_PER_TOKEN = 4
"""How tokens are estimated."""

SHORT_DESCRIPTION = 80
"""Characters that are left of a tool's description where room is scarce."""

NOTHING_KNOWN: Mapping[str, str] = MappingProxyType({})

SUFFIX = "memory.suffix"
"""Under this name, what is known may hold words that end the prompt, by the agent's memory profile."""

MEMORY = "memory"
"""The placeholder whose value has the best fitting memory first, a line each."""

COMMAND = "command"
"""The status of a slash command and of the answer to one."""

NEVER_SENT = frozenset({"rolled_back", COMMAND})
"""Messages of these statuses are for people only."""

SUMMARY = "What was said before, in short:\n"

_PER_MESSAGE = 16
"""Characters that a message costs beside its own: its role and what separates it from the next."""


@attrs.frozen
class Window:
    """How much a model may be sent, in tokens. ``size`` is the whole; ``answer`` is kept free for what it says."""

    size: int
    answer: int

    @property
    def room(self) -> int:
        """Characters for all that is sent; none or less when the answer alone fills the window."""
        return (self.size - self.answer) * CHARACTERS_PER_TOKEN


def window_of(config: AgentConfig, default: int) -> Window:
    """The window of the agent's model, *default* tokens where the agent does not say."""
    return Window(config.max_context_tokens or default, config.max_output_tokens + (config.thinking_tokens or 0))


@attrs.frozen
class Material:
    """All that the context of an inference is made of. ``known`` is what is remembered, by placeholder."""

    config: AgentConfig
    history: Sequence[Message]
    now: datetime
    key: SessionKey | None = None
    preface: str = ""
    summary: str | None = None
    known: Mapping[str, str] = NOTHING_KNOWN
    tools: tuple[ToolSpec, ...] = ()


@attrs.frozen
class Context:
    """What is sent, how many characters it is, and what had to go.

    ``wanted`` is how many characters it was before: the tools whose description was ``shortened``, the memories
    ``forgotten`` and the messages ``left_out`` are counts.
    """

    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSpec, ...]
    characters: int
    wanted: int
    shortened: int = 0
    forgotten: int = 0
    left_out: int = 0

    @property
    def tokens(self) -> int:
        """An estimate."""
        return -(-self.characters // CHARACTERS_PER_TOKEN)

    @property
    def losses(self) -> Mapping[str, int]:
        """What had to go, for the trace: nothing, most of the time."""
        found = {"toolsShortened": self.shortened, "memoriesLeftOut": self.forgotten, "messagesLeftOut": self.left_out}
        return {name: count for name, count in found.items() if count}


def fit(material: Material, room: int) -> Context:
    """The context of one inference, in at most *room* characters.

    What does not fit goes in this order: long descriptions of tools, memories (the least fitting first), the oldest
    of the conversation, the oldest tools of the present turn. The house rules, the workspace's files, the prompt, the
    present question and the newest results always stay, and no call of a tool is sent without its result nor a
    result without its call.

    Raises `ContextTooLarge` when what must stay does not fit.
    """
    tools, known, shortened, forgotten = material.tools, material.known, 0, 0
    system = _system(material, known)
    kept = whole_calls(told(material.history))
    rest = len(system) + sum(map(weight, kept)) - room
    over = rest + tools_weight(tools)
    wanted = room + over
    if over > 0 and tools:
        tools = tuple(map(_shortened, tools))
        shortened = sum(short is not tool for short, tool in zip(tools, material.tools, strict=True))
        over = rest + tools_weight(tools)
    if over > 0 and known.get(MEMORY):
        known, forgotten = _forget(known, over)
        slimmer = _system(material, known)
        over -= len(system) - len(slimmer)
        system = slimmer
    left_out = 0
    if over > 0:
        before = len(kept)
        kept, freed = _drop(kept, over)
        over, left_out = over - freed, before - len(kept)
    if over > 0:
        raise ContextTooLarge(
            f"the conversation needs about {-(-(room + over) // CHARACTERS_PER_TOKEN)} tokens and the agent's model "
            f"has room for {max(0, room) // CHARACTERS_PER_TOKEN}, also after leaving out what can be left out"
        )
    messages = [ChatMessage(Role.SYSTEM, system)]
    messages += [ChatMessage(m.role, m.content, m.tool_calls, m.tool_call_id) for m in kept]
    return Context(tuple(messages), tools, room + over, wanted, shortened, forgotten, left_out)


def told(history: Sequence[Message]) -> list[Message]:
    """The messages of *history* that are for models at all: not what is empty, unless it answers a call."""
    return [m for m in history if m.status not in NEVER_SENT and (m.content or m.tool_calls or m.tool_call_id)]


def whole_calls(messages: list[Message]) -> list[Message]:
    """*messages* without results at their beginning, whose calls are not among them."""
    first = next((at for at, message in enumerate(messages) if message.role is not Role.TOOL), len(messages))
    return messages[first:] if first else messages


def weight(message: Message) -> int:
    """About how many characters a message costs."""
    calls = sum(len(call.name) + len(call.arguments) for call in message.tool_calls) if message.tool_calls else 0
    return len(message.content) + calls + _PER_MESSAGE


def tools_weight(tools: Sequence[ToolSpec]) -> int:
    """About how many characters the tools' descriptions cost."""
    return sum(len(x.name) + len(x.description) + len(msgspec.json.encode(x.parameters)) for x in tools)


def present_turn(messages: Sequence[Message]) -> int:
    """Where the present turn begins: the place of the newest question; the end when there is none."""
    return next((at for at in range(len(messages) - 1, -1, -1) if messages[at].role is Role.USER), len(messages))


def blocks(messages: Sequence[Message]) -> list[Sequence[Message]]:
    """*messages* in pieces that must not be torn apart: a call with its results, or one message."""
    found: list[list[Message]] = []
    for message in messages:
        if message.role is Role.TOOL and found:
            found[-1].append(message)
        else:
            found.append([message])
    return list(found)


def _drop(messages: list[Message], over: int) -> tuple[list[Message], int]:
    """*messages* without the oldest that are worth *over* characters, as far as they can go; and what that frees."""
    turn = present_turn(messages)
    older, rounds = blocks(messages[:turn]), blocks(messages[turn + 1 :])
    question = messages[turn : turn + 1]
    freed = 0
    for pieces, least in ((older, 0), (rounds, 1)):
        while freed < over and len(pieces) > least:
            freed += sum(map(weight, pieces.pop(0)))
    return [*(m for piece in older for m in piece), *question, *(m for piece in rounds for m in piece)], freed


def _forget(known: Mapping[str, str], over: int) -> tuple[Mapping[str, str], int]:
    lines = known[MEMORY].splitlines()
    before = len(lines)
    while lines and over > 0:
        over -= len(lines.pop()) + 1
    return {**known, MEMORY: "\n".join(lines)}, before - len(lines)


def _shortened(tool: ToolSpec) -> ToolSpec:
    if len(tool.description) <= SHORT_DESCRIPTION:
        return tool
    return attrs.evolve(tool, description=tool.description[: SHORT_DESCRIPTION - 1].rstrip() + "…")


def _system(material: Material, known: Mapping[str, str]) -> str:
    # One message, the summary too: many models' templates take a system message at the beginning only.
    summary = SUMMARY + material.summary if material.summary else ""
    parts = (material.preface, system_prompt(material.config, material.now, material.key, known), summary)
    return "\n\n".join(part for part in parts if part)


def system_prompt(
    config: AgentConfig, now: datetime, key: SessionKey | None = None, known: Mapping[str, str] = NOTHING_KNOWN
) -> str:
    """The agent's prompt with its placeholders filled in, then its skills' texts and its memory profile's as they are.

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
    suffix = (known[SUFFIX],) if known.get(SUFFIX) else ()
    prompt = "\n\n".join((render(config.system_prompt, values), *config.instructions, *suffix))
    return prompt if "date" in placeholders(config.system_prompt) else f"{prompt}\n\nToday is {today}."
