"""What was said in a session, as far as models are still told of it."""

from collections.abc import Sequence

import attrs
import trio

from understudy.actors.session.context import HISTORY_LIMIT
from understudy.storage.records import Message


@attrs.define(eq=False)
class Conversation:
    """The newest messages, and the summary that stands for all before them.

    Shared by the session, the turn under way and the summary being made; it changes between checkpoints only. Whoever
    makes a summary holds ``compacting``.
    """

    messages: list[Message] = attrs.field(factory=list)
    summary: str | None = None
    compacting: trio.Lock = attrs.field(factory=trio.Lock)

    def take_back(self, turn_id: str) -> None:
        """The turn was rolled back: nothing of it was said."""
        self.messages = [message for message in self.messages if message.turn_id != turn_id]

    def trim(self) -> None:
        """Let go of what is beyond `HISTORY_LIMIT`."""
        if len(self.messages) > HISTORY_LIMIT:
            del self.messages[: len(self.messages) - HISTORY_LIMIT]

    def summarised(self, part: Sequence[Message], summary: str) -> None:
        """*summary* stands for *part*, which may have been trimmed away meanwhile, and for all before it."""
        gone = {message.id for message in part}
        self.summary = summary
        self.messages = [message for message in self.messages if message.id not in gone]
