"""A question and what became of it, and the tokens it took."""

from datetime import datetime
from enum import StrEnum

import attrs

from understudy.storage.records.idempotency import IdempotencyKey


class TurnStatus(StrEnum):
    """How far a turn got. All but ``RUNNING`` are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


@attrs.frozen
class Usage:
    """Tokens of one turn, summed over its inference rounds."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        """The sum of two rounds."""
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@attrs.frozen
class Turn:
    """One question and what became of it. ``first_seq`` is the sequence number just before its first event."""

    id: str
    session_id: str
    status: TurnStatus
    first_seq: int
    started_at: datetime
    content: str = ""
    model: str | None = None
    tools_used: tuple[str, ...] = ()
    usage: Usage = attrs.field(factory=Usage)
    error_code: str | None = None
    error_message: str | None = None
    idempotency: IdempotencyKey | None = None
    finished_at: datetime | None = None
