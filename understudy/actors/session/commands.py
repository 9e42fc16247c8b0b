"""Slash commands: messages that the session answers itself, without asking a model.

A message is a command when it is one word, a slash and a name of lower-case letters: ``/help``. White space around it
and upper case do not matter. Anything longer is for the model, whatever it begins with, and so is a path such as
``/etc/hosts``. A command that does not exist is answered with those that do.
"""

import re
from enum import StrEnum

from understudy.actors.agents.config import AgentConfig
from understudy.actors.session.context import Window, told, weight
from understudy.actors.session.conversation import Conversation
from understudy.storage.records import Session

_COMMAND = re.compile(r"/([a-z]{1,32})")


class Command(StrEnum):
    """What can be commanded."""

    RESET = "reset"
    STATUS = "status"
    HELP = "help"
    UNKNOWN = ""


_HELP = """\
/help: what can be commanded
/reset: begin a new conversation; the old one is archived and can still be read
/status: which agent and model this is, and how long the conversation has become

Anything else is for the agent."""

_BEGUN = "A new conversation has begun. What was said before is archived, and can still be read."


def command_of(message: str) -> Command | None:
    """The command that *message* is, `Command.UNKNOWN` for one that does not exist; None for a message to the agent."""
    found = _COMMAND.fullmatch(message.strip().lower())
    if found is None:
        return None
    try:
        return Command(found[1])
    except ValueError:
        return Command.UNKNOWN


def reply_to(
    command: Command, message: str, session: Session, config: AgentConfig, conversation: Conversation, window: Window
) -> str:
    """The answer to *command*; a reset has been done when it is asked for."""
    match command:
        case Command.RESET:
            return _BEGUN
        case Command.HELP:
            return _HELP
        case Command.STATUS:
            return _status(session, config, conversation, window)
        case Command.UNKNOWN:
            return f"There is no command {message.strip()}.\n\n{_HELP}"


def _status(session: Session, config: AgentConfig, conversation: Conversation, window: Window) -> str:
    said = told(conversation.messages)
    characters = sum(map(weight, said)) + len(conversation.summary or "")
    percent = round(100 * characters / window.room) if window.room > 0 else 100
    lines = [
        f"Agent: {config.display_name} ({config.id})",
        f"Model: {config.provider}/{config.model_id}",
        f"Session: {session.id}, since {session.created_at:%Y-%m-%d %H:%M} UTC",
        f"Messages: {session.message_count}; tokens used: {session.token_count}",
        f"Context: about {percent} % of the room that the model has",
    ]
    if conversation.summary:
        lines.append("The beginning of the conversation is told to the model as a summary.")
    return "\n".join(lines)
