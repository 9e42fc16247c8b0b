"""What sessions need from storage, as narrowly as they need it."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from understudy.actors.inference.messages import ModelEvent, ModelRequest, ToolSpec
from understudy.actors.inference.retry import RetryBudget
from understudy.actors.session.messages import StopWay
from understudy.actors.tools.messages import ToolContext, ToolResult
from understudy.storage.entries import Compaction, Entry, Published
from understudy.storage.errors import StorageError
from understudy.storage.records import (
    Approval,
    AuditEntry,
    IdempotencyKey,
    Message,
    MessageHit,
    RunEvent,
    Session,
    SessionKey,
    SessionStatus,
    ToolCall,
    Turn,
)


class Writer(Protocol):
    """The journal, seen from an actor."""

    async def write(self, *entries: Entry) -> None:
        """Commit *entries* as one group; returns after the commit.

        Cancelled means: perhaps written. Raises `StoreUnavailable`, `Fenced`, `StoreConflict`.
        """
        ...


class GroupWriter(Writer, Protocol):
    """The journal, also for many groups at once."""

    async def write_groups(self, groups: Sequence[tuple[Entry, ...]]) -> Sequence[StorageError | None]:
        """Commit each of *groups*, whole or not at all; what became of each, in order: None when it is committed.

        Bounded. Cancelled means: perhaps written. Raises `StoreUnavailable`: all of them may be written again.
        """
        ...


class SessionStore(Protocol):
    """Reading sessions, and the few writes that are not on a turn's path. All raise `StoreUnavailable`."""

    async def open(self, key: SessionKey, now: datetime) -> tuple[Session, bool]:
        """The active session of *key*, made when there is none; and whether it was made just now."""
        ...

    async def claim(self, session_id: str, node: str) -> Session | None:
        """Take the session over for *node*: its epoch rises, so that nobody who held it before can still write.

        One in which another living node runs a turn is left alone, and comes back with that ``node`` in it.
        """
        ...

    async def load(self, session_id: str) -> Session | None:
        """The session, whoever owns it."""
        ...

    async def get(self, session_id: str, *, uid: str) -> Session | None:
        """The session, if it is this user's, and they still belong to its workspace."""
        ...

    async def reset(self, session_id: str, now: datetime, *, epoch: int) -> tuple[Session, Session]:
        """Archive the session and open its successor, in one transaction: (old, new). Raises `Fenced`."""
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
        """The turn that an idempotency key started, which counts still: unexpired, or the turn's that runs."""
        ...

    async def abandoned_sessions(self, own: str | None = None) -> Sequence[str]:
        """The ids of sessions with a turn that is believed to be running by a node that is no more, or by *own*."""
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

    async def __call__(
        self,
        template: str,
        key: SessionKey,
        asked: str,
        profile_id: str | None = None,
        session_id: str | None = None,
    ) -> Mapping[str, str]:
        """Values for the placeholders of *template* that are about the user who *asked*, in this session.

        *profile_id* is the memory profile that the agent's configuration names. Under `context.SUFFIX` is what ends
        the prompt by the agent's memory profile. Never refuses.
        """
        ...


class Tools(Protocol):
    """What a turn needs of the toolbox."""

    def specs(self, names: Collection[str] | None = None) -> tuple[ToolSpec, ...]:
        """The tools with these names, as offered to a model; unknown names are left out."""
        ...

    def is_serial(self, name: str) -> bool:
        """Whether calls of this tool must not run beside others of their round."""
        ...

    async def run(self, call: ToolCall, context: ToolContext, *, allowed: Collection[str] | None = None) -> ToolResult:
        """Run one call in this task, if it is *allowed*; failures are results. Cancelled means stopped."""
        ...


class CompactionStore(Protocol):
    """Where summaries of conversations are kept."""

    async def compact(self, wanted: Compaction) -> bool:
        """Store a summary; whether it was news. Raises `Fenced` and `StoreUnavailable`."""
        ...


class Consent(Protocol):
    """People, who must be asked before some tools run: `understudy.actors.approvals.consent.Consent`."""

    def is_needed(self, agent_id: str, tool: str) -> bool:
        """Whether somebody must agree to this agent's calls of the tool. Does not block."""
        ...

    async def request(self, call: ToolCall, context: ToolContext) -> Approval:
        """Ask for consent; returns once that is stored. Raises a `DomainError` when nobody can be asked."""
        ...

    async def decision(self, asked: Approval) -> Approval:
        """What became of it: waits until somebody has decided or its time is up. Raises a `DomainError`."""
        ...

    def allows(self, decided: Approval) -> bool:
        """Whether the call may run after all. Does not block."""
        ...

    def withdraw(self, asked: Approval) -> None:
        """Nobody waits for it any more. Does not block."""
        ...


class Calls(Protocol):
    """The other nodes, seen from a session: `understudy.actors.nodes.calls.NodeCalls`."""

    async def stop(self, session_id: str, turn_id: str, way: StopWay) -> None:
        """Ask whichever node runs a turn of the session to stop it. May be lost. Raises `StoreUnavailable`."""
        ...

    async def read(self, session_id: str, turn_id: str) -> None:
        """Tell whichever node runs the turn that somebody reads it here. May be lost. Raises `StoreUnavailable`."""
        ...


class Requests(Protocol):
    """Requests for consent, as far as nobody waits for them any more."""

    async def withdraw_abandoned(self, now: datetime) -> int:
        """Cancel those whose turn has ended; how many. Raises `StoreUnavailable`."""
        ...


class Health(Protocol):
    """Whether agents may run: `understudy.actors.healing.health.Health`."""

    async def check(self, workspace_id: str, agent_id: str) -> None:
        """Raises `AgentPaused` while the agent is left alone; nobody is held back while that is not known."""
        ...

    def ended(self, workspace_id: str, agent_id: str, uid: str, failure: str | None) -> None:
        """A turn of the agent ended, with the code of its *failure* if it was one. Does not block."""
        ...
