"""What sessions need from storage, as narrowly as they need it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from understudy.actors.inference.messages import ModelEvent, ModelRequest
from understudy.actors.inference.retry import RetryBudget
from understudy.storage.entries import Entry, Published
from understudy.storage.records import (
    AuditEntry,
    IdempotencyKey,
    Message,
    MessageHit,
    RunEvent,
    Session,
    SessionKey,
    SessionStatus,
    Turn,
)


class Writer(Protocol):
    """The journal, seen from an actor."""

    async def write(self, *entries: Entry) -> None:
        """Commit *entries* as one group; returns after the commit.

        Cancelled means: perhaps written. Raises `StoreUnavailable`, `Fenced`, `StoreConflict`.
        """
        ...


class SessionStore(Protocol):
    """Reading sessions, and the few writes that are not on a turn's path. All raise `StoreUnavailable`."""

    async def open(self, key: SessionKey, now: datetime) -> tuple[Session, bool]:
        """The active session of *key*, made when there is none; and whether it was made just now."""
        ...

    async def claim(self, session_id: str) -> Session | None:
        """Take the session over: its epoch rises, so that nobody who held it before can still write."""
        ...

    async def load(self, session_id: str) -> Session | None:
        """The session, whoever owns it."""
        ...

    async def reset(self, session_id: str, now: datetime) -> tuple[Session, Session]:
        """Archive the session and open its successor, in one transaction: (old, new)."""
        ...

    async def hand_off(
        self, session_id: str, agent_id: str, note: Message, told: Published, audit: AuditEntry, *, epoch: int
    ) -> Session:
        """Change the session's agent, with the note, the fact and the audit line, in one transaction.

        Raises `Fenced`, `StoreConflict` (``conversation``).
        """
        ...

    async def search_messages(
        self, uid: str, text: str, *, workspace_id: str | None = None, limit: int = 20
    ) -> tuple[MessageHit, ...]:
        """The user's own messages that have all words of *text*, best first."""
        ...

    async def list(
        self,
        uid: str | None,
        *,
        status: SessionStatus | None = None,
        agent_id: str | None = None,
        surface: str | None = None,
        workspace_id: str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> tuple[Sequence[Session], int]:
        """One page of the user's sessions, newest activity first, and how many there are in all."""
        ...

    async def messages(self, session_id: str, *, limit: int = 50, before: str | None = None) -> Sequence[Message]:
        """The newest *limit* messages (older than the message *before*), oldest of them first."""
        ...

    async def running_turn(self, session_id: str) -> Turn | None:
        """The turn that the database believes to be running."""
        ...

    async def turn(self, turn_id: str) -> Turn | None:
        """One turn."""
        ...

    async def turn_by_idempotency(self, scope: str, key: str) -> tuple[IdempotencyKey, Turn] | None:
        """The turn that an unexpired idempotency key started."""
        ...

    async def sessions_with_running_turns(self) -> Sequence[str]:
        """The ids of all sessions in which a turn is believed to be running."""
        ...

    async def events(self, session_id: str, after: int, limit: int) -> Sequence[RunEvent]:
        """Events after a sequence number, in order."""
        ...


class ModelStreams(Protocol):
    """Models, seen from a turn: `understudy.actors.inference.gateway.Inference`."""

    def stream(
        self, request: ModelRequest, budget: RetryBudget | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[ModelEvent]]:
        """Run one inference in this task; leaving the block closes the provider's connection.

        Retries count against *budget*, which the inferences of a turn share.
        """
        ...


class Recall(Protocol):
    """What is remembered, for prompts that ask for it."""

    async def __call__(self, template: str, key: SessionKey, asked: str) -> Mapping[str, str]:
        """Values for the placeholders of *template* that are about the user who *asked*. Never refuses."""
        ...
