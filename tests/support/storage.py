"""Short ways to make what storage stores."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from understudy.storage.entries import Entry, EventsAppended, TurnClosed, TurnOpened
from understudy.storage.journal import Journal
from understudy.storage.records import (
    IdempotencyKey,
    Message,
    RefreshToken,
    Role,
    RunEvent,
    Session,
    SessionKey,
    TurnStatus,
    Usage,
    User,
    Workspace,
    new_id,
)
from understudy.storage.repositories import Repositories

NODE = "nod_1"
"""The node that claims sessions."""

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """So many seconds after the start of all tests."""
    return START + timedelta(seconds=seconds)


@attrs.frozen
class Store:
    """What a test of storage is given: the repositories and a journal over the same data."""

    repositories: Repositories
    journal: Journal

    async def write(self, *entries: Entry) -> None:
        """Write one group; raises what became of it."""
        (outcome,) = await self.journal.write([entries])
        if outcome is not None:
            raise outcome

    async def user(self, email: str = "mira@example.org") -> tuple[User, Workspace]:
        """A new user with a workspace."""
        user = User(new_id("usr"), email, "hash", START)
        workspace = Workspace(new_id("ws"), "Personal", user.id, "personal", START)
        await self.repositories.users.create(user, workspace)
        return user, workspace

    async def session(self, surface_id: str = "main", email: str | None = None) -> Session:
        """A claimed session of a new user."""
        user, workspace = await self.user(email or f"{new_id('x').lower()}@example.org")
        opened, _ = await self.repositories.sessions.open(session_key(user, workspace, surface_id), START)
        claimed = await self.repositories.sessions.claim(opened.id, NODE)
        assert claimed is not None
        return claimed


def session_key(user: User, workspace: Workspace, surface_id: str = "main") -> SessionKey:
    """A conversation of the user."""
    return SessionKey(workspace.id, user.id, "chad", "chat", surface_id)


def message(
    session: Session, turn_id: str | None, role: Role = Role.USER, content: str = "hello", **more: Any
) -> Message:
    """A message of the session."""
    return Message(new_id("msg"), session.id, turn_id, role, content, more.pop("created_at", START), **more)


def opened(session: Session, turn_id: str | None = None, **more: Any) -> TurnOpened:
    """A turn beginning."""
    turn = turn_id or new_id("trn")
    fields = {"epoch": session.epoch, "first_seq": 0, "started_at": START, "message": message(session, turn)}
    return TurnOpened(turn_id=turn, session_id=session.id, **{**fields, **more})


def closed(session: Session, turn_id: str, status: TurnStatus = TurnStatus.COMPLETED, **more: Any) -> TurnClosed:
    """A turn ending, with an answer."""
    answer = message(session, turn_id, Role.ASSISTANT, "hi there")
    fields = {
        "epoch": session.epoch,
        "finished_at": at(2),
        "content": "hi there",
        "message": answer,
        "usage": Usage(10, 5),
    }
    return TurnClosed(turn_id=turn_id, session_id=session.id, status=status, **{**fields, **more})


def events(session: Session, *seqs: int, turn_id: str | None = None) -> EventsAppended:
    """Events of the session with these numbers."""
    return EventsAppended(
        session.epoch,
        session.id,
        tuple(RunEvent(session.id, seq, turn_id, "token", {"text": f"word {seq}"}, at(seq)) for seq in seqs),
    )


def key(name: str = "k1", body: bytes = b"body", scope: str = "usr:POST /agent/chat") -> IdempotencyKey:
    """An idempotency key with the hash of a body."""
    return IdempotencyKey(scope, name, hashlib.sha256(body).digest())


def token(uid: str, secret: str, *, family: str = "fam_1", issued: float = 0.0, lives: float = 3600.0) -> RefreshToken:
    """A refresh token known by the hash of *secret*."""
    digest = hashlib.sha256(secret.encode()).digest()
    return RefreshToken(new_id("rt"), uid, family, digest, at(issued), at(issued + lives))
