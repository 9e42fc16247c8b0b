"""The JSON of `/diagnostics/actors`: the actor tree as the kernel tells of it. Ages and durations are in seconds."""

from datetime import datetime
from typing import Any

from understudy.http.schemas import Wire


class ActorWork(Wire, frozen=True):
    """A piece of work in flight: a turn, a commit."""

    name: str
    age: float


class ActorCrash(Wire, frozen=True):
    """The last crash, and the type of the message that was being handled."""

    at: datetime
    error: str
    message: str | None


class ActorNode(Wire, frozen=True):
    """One actor or supervisor, without what is beneath it.

    ``status`` is its own word, ``state`` the kernel's: starting, idle, busy, suspended, backing off, stopping or ended.
    ``epoch`` says which incarnation it is, ``uptime`` for how long.
    """

    address: str
    kind: str
    type: str
    state: str
    status: str | None
    labels: dict[str, str]
    epoch: int
    uptime: float
    restarts: int
    restarts_in_window: int
    mailbox: int
    system_mailbox: int
    stashed: int
    mailbox_limit: int
    high_water: int
    head_age: float
    handled: int
    current: str | None
    current_age: float
    crash: ActorCrash | None
    work: list[ActorWork]
    timers: int
    monitors: int
    readers: int
    strategy: str | None
    child_count: int
    quarantined: dict[str, float]


class ActorTree(ActorNode, frozen=True):
    """An actor or supervisor, and all beneath it."""

    children: list["ActorTree"]


class ActorDetail(ActorTree, frozen=True):
    """An actor or supervisor, all beneath it, and what an actor says of itself (null for a supervisor)."""

    inspect: dict[str, Any] | None


class ActorControlled(Wire, frozen=True):
    """What has become of an actor that was acted on; null when it is gone."""

    ok: bool
    address: str
    node: ActorNode | None


class HandledMessage(Wire, frozen=True):
    """A message that was handled: its type, never its content."""

    began: datetime
    message: str
    sender: str | None
    request_id: str | None
    outcome: str
    seconds: float


class ActorTrace(Wire, frozen=True):
    """The last messages that an actor handled, oldest first."""

    address: str
    messages: list[HandledMessage]
