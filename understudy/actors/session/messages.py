"""What can be asked of sessions, and what they answer.

`sessions/directory` knows which session a conversation key means and answers everything about *sessions* (start,
reset, list, read). `session/<id>` is one live conversation and answers everything about *this* one (cancel, status).
Ask the directory to start a turn: it forwards to the right session and its answer comes straight back.
"""

from datetime import datetime
from enum import StrEnum

import attrs

from understudy.actors.agents.delegation import Delegated
from understudy.runtime import Ask
from understudy.storage.records import IdempotencyKey as IdempotencyKey
from understudy.storage.records import Message as Message
from understudy.storage.records import MessageHit as MessageHit
from understudy.storage.records import RunEvent as RunEvent
from understudy.storage.records import Session as Session
from understudy.storage.records import SessionKey as SessionKey
from understudy.storage.records import SessionStatus as SessionStatus
from understudy.storage.records import TurnStatus as TurnStatus

DIRECTORY = "sessions/directory"


def session_address(session_id: str) -> str:
    """The address of the session's actor."""
    return f"session/{session_id}"


class OnBusy(StrEnum):
    """What a new message does to a session that is in the middle of a turn."""

    ENQUEUE = "enqueue"
    """Wait for the running turn to end, in order (default)."""
    REJECT = "reject"
    """Refuse with `Conflict`."""
    INTERRUPT = "interrupt"
    """Cancel the running turn, keep what it streamed, then run."""
    ROLLBACK = "rollback"
    """Cancel the running turn, drop its question and its partial answer from the history, then run."""


@attrs.frozen
class TurnStarted:
    """The turn is recorded and will run: its events follow ``after`` in the log of ``session_id``.

    ``replayed`` says that an earlier request with the same idempotency key started it.
    """

    turn_id: str
    session_id: str
    is_new: bool
    after: int
    replayed: bool = False


@attrs.frozen
class StartTurn(Ask[TurnStarted]):
    """Put a user's message to the conversation *key*; answered once the message and the turn are committed.

    With ``grace`` (seconds) the turn is cancelled when nobody has read its events for that long; None never.
    Refused with `NotFound` (agent), `Forbidden`, `Conflict` (busy with ``reject``; key reused), `RateLimited`
    (queue full), `Unavailable`. ``request_id`` and ``traceparent`` (W3C) are the asker's, for the turn's trace; the
    session takes what is None from the asker's context. With ``delegated`` the agent works for another, within those
    bounds. ``callback`` is a URL to which the answer is sent too, which the asker has had approved: the wish is
    committed with the turn.
    """

    key: SessionKey
    message: str
    on_busy: OnBusy = OnBusy.ENQUEUE
    idempotency: IdempotencyKey | None = None
    grace: float | None = 30.0
    request_id: str | None = None
    traceparent: str | None = None
    delegated: Delegated | None = None
    callback: str | None = None


@attrs.frozen
class ResetDone:
    """The old session (if there was one) is archived and a new one is ready."""

    archived_session_id: str | None
    session_id: str


@attrs.frozen
class Reset(Ask[ResetDone]):
    """Archive the active session of *key* and open a new one; a running turn is cancelled first."""

    key: SessionKey


@attrs.frozen
class ResumeStream(Ask[TurnStarted]):
    """Find the turn that event ``seq`` of ``session_id`` belongs to, for a reader that comes back.

    `NotFound` for a session that is not the caller's, `Invalid` for a sequence number that has not been reached.
    """

    uid: str
    workspace_id: str
    session_id: str
    seq: int


@attrs.frozen
class SessionPage:
    """One page of sessions, newest activity first."""

    sessions: tuple[Session, ...]
    total: int


@attrs.frozen
class ListSessions(Ask[SessionPage]):
    """The sessions of ``uid``; with None everybody's in ``workspace_id``, which the caller was found to administer."""

    uid: str | None
    status: SessionStatus | None = None
    agent_id: str | None = None
    surface: str | None = None
    limit: int = 20
    offset: int = 0
    workspace_id: str | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse to list everybody's of everywhere."""
        if self.uid is None and self.workspace_id is None:
            raise ValueError("a list is of a user, or of a workspace")


@attrs.frozen
class SearchMessages(Ask[tuple[MessageHit, ...]]):
    """What the user and their agents said that has all words of ``text``, best first; in archived sessions, too.

    ``text`` is as search boxes take it: ``"a phrase"``, ``this or that``, ``-without``. Refused with `Unavailable`.
    """

    uid: str
    text: str
    limit: int = 20
    workspace_id: str | None = None


@attrs.frozen
class SessionDetail:
    """A session with its newest messages in the order of time; ``state`` is the live actor's word, or None."""

    session: Session
    messages: tuple[Message, ...]
    running_turn: str | None


@attrs.frozen
class GetSession(Ask[SessionDetail]):
    """A session of the caller's with its newest ``limit`` messages (older than ``before``, a message id).

    With ``workspace_id``, which the caller was found to administer, also anybody's in it: that is audited.
    """

    uid: str
    session_id: str
    limit: int = 50
    before: str | None = None
    workspace_id: str | None = None


@attrs.frozen
class AuthorizeSession(Ask[Session]):
    """The session, when it is the caller's (`NotFound` when not): asked before its events are streamed."""

    uid: str
    session_id: str


@attrs.frozen
class Cancelled:
    """The session is quiet. ``turn_id`` is the turn that was stopped, None when none was running."""

    session_id: str
    turn_id: str | None
    status: TurnStatus | None
    last_seq: int


@attrs.frozen
class CancelTurn(Ask[Cancelled]):
    """Stop the running turn of the caller's session and drop what waits behind it; answered when it is quiet.

    With ``turn_id`` only that turn is stopped, if it is the one that runs, and what waits behind it goes on. After the
    answer no byte is read from the provider and no event of that turn appears.
    """

    uid: str
    session_id: str
    turn_id: str | None = None


class StopWay(StrEnum):
    """How a turn is stopped that another node runs."""

    CANCEL = "cancel"
    """Somebody asked for it; what waits behind it is dropped, too."""
    CANCEL_ONE = "cancel_one"
    """Somebody asked for it; what waits behind it goes on."""
    INTERRUPT = "interrupt"
    """For a newer message."""
    ROLLBACK = "rollback"
    """For a newer message, and its question and partial answer are taken back."""


STOPPED_BY_NEXT = {OnBusy.INTERRUPT: StopWay.INTERRUPT, OnBusy.ROLLBACK: StopWay.ROLLBACK}
"""What a message does to a turn that another node runs, where it does not wait for its end."""


@attrs.frozen
class StopHere:
    """Told to a session by its node, for another one: stop that turn, if it runs here."""

    turn_id: str
    way: StopWay


@attrs.frozen
class ReadElsewhere:
    """Told to a session by its node: somebody reads that turn by way of another one, about once a second."""

    turn_id: str


@attrs.frozen
class Lost:
    """Told to a session by its node: another node has taken it over, under this epoch."""

    epoch: int


@attrs.frozen
class CatchUp(Ask[None]):
    """Somebody knows of event ``last_seq``: what another node wrote can be read here when this is answered."""

    last_seq: int


@attrs.frozen
class EndAbandoned(Ask[None]):
    """The node that ran a turn of yours is gone: end that turn. Refused with `Unavailable`."""


@attrs.frozen
class HandOff(Ask[Session]):
    """Give the caller's session to another agent, who answers from the next turn on; answered once it is committed.

    The conversation keeps its id, its messages and its place (surface); a system message says what happened. To the
    agent who has it already nothing is done. Refused with `NotFound`, `Forbidden` (the agent), `Conflict` (archived; in
    the middle of a turn; that agent has a conversation in this place already), `Unavailable`.
    """

    uid: str
    session_id: str
    agent_id: str
    reason: str | None = None


@attrs.frozen
class Presence:
    """What an agent does for a user at the moment: idle, thinking, tool, streaming or awaiting_approval."""

    agent_id: str
    session_id: str
    workspace_id: str
    uid: str
    state: str
    since: datetime


@attrs.frozen
class Moved:
    """Told to the directory by a session that has been replaced: *key* now means ``session_id``."""

    key: SessionKey
    session_id: str


@attrs.frozen
class Left:
    """Told to the directory by a session that was handed to another agent: *key* does not mean it any more."""

    key: SessionKey
    session_id: str
