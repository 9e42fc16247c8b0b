"""The values of webhooks and their deliveries: what storage keeps and actors send."""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import attrs

from understudy.storage.entries import Published
from understudy.storage.records import AuditEntry, TurnStatus, Usage

ANY = "*"
"""The event name that stands for all of them."""


class DeliveryStatus(StrEnum):
    """How far a delivery got. ``PENDING`` is to be tried, or is being tried."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"


class DisabledReason(StrEnum):
    """Why the server itself stopped delivering to a webhook."""

    GONE = "gone"
    FAILURES = "failures"


@attrs.frozen
class Webhook:
    """Where one user wants to be told of what; of one workspace only when ``workspace_id`` is given.

    ``failures`` counts attempts in a row that failed, ``missed`` the events that found too many others waiting. The
    secrets appear in no repr: they must not get into a log.
    """

    id: str
    uid: str
    url: str
    events: tuple[str, ...]
    secret: str = attrs.field(repr=False)
    created_at: datetime
    updated_at: datetime
    workspace_id: str | None = None
    description: str | None = None
    enabled: bool = True
    disabled_reason: DisabledReason | None = None
    old_secret: str | None = attrs.field(default=None, repr=False)
    old_secret_until: datetime | None = None
    failures: int = 0
    missed: int = 0

    def secrets(self, now: datetime) -> tuple[str, ...]:
        """Those to sign with, the present one first."""
        if self.old_secret is None or self.old_secret_until is None or self.old_secret_until <= now:
            return (self.secret,)
        return (self.secret, self.old_secret)


@attrs.frozen
class Delivery:
    """One event on its way to one webhook, as its owner sees it. ``response_status`` and ``error`` are of the last try.

    A pending one without ``next_attempt_at`` waits for its webhook to be enabled.
    """

    id: str
    webhook_id: str
    event_id: str
    event: str
    status: DeliveryStatus
    created_at: datetime
    attempts: int = 0
    next_attempt_at: datetime | None = None
    response_status: int | None = None
    duration_ms: int | None = None
    error: str | None = None


@attrs.frozen
class Happening:
    """A fact to be told: whom it is of, and the ``body`` they are sent. ``turn_id`` is the turn that it ends."""

    id: str
    event: str
    uid: str | None
    workspace_id: str | None
    body: str
    turn_id: str | None = None


@attrs.frozen
class Callback:
    """A wish that came with a chat: the answer of this turn, once, to this URL."""

    id: str
    event_id: str
    event: str
    uid: str
    turn_id: str
    url: str
    created_at: datetime


@attrs.frozen
class FinishedTurn:
    """What a turn came to, for the body of a callback."""

    session_id: str
    agent_id: str
    status: TurnStatus
    started_at: datetime
    finished_at: datetime
    content: str
    tools_used: tuple[str, ...]
    usage: Usage
    model: str | None = None
    error_code: str | None = None
    error_message: str | None = None


@attrs.frozen
class Claimed:
    """A delivery that somebody has taken to try it now; ``claim`` proves it.

    ``step`` counts the tries before this one. What is sent is ``body`` or, for a callback, made of ``turn``. There are
    no ``secrets`` when nobody has told the receiver any.
    """

    id: str
    claim: int
    step: int
    event_id: str
    event: str
    url: str
    secrets: tuple[str, ...] = attrs.field(repr=False)
    body: str | None = None
    turn: FinishedTurn | None = None


@attrs.frozen
class Attempted:
    """What became of one try. ``next_attempt_at`` is None when it succeeded or was the last."""

    id: str
    claim: int
    ok: bool
    response_status: int | None = None
    duration_ms: int | None = None
    error: str | None = None
    next_attempt_at: datetime | None = None
    gone: bool = False

    @property
    def status(self) -> DeliveryStatus:
        """What the delivery is now."""
        if self.ok:
            return DeliveryStatus.SUCCESS
        return DeliveryStatus.PENDING if self.next_attempt_at is not None else DeliveryStatus.FAILED


Disable: TypeAlias = Callable[[Webhook, DisabledReason], tuple[Published, AuditEntry]]
"""What is told and noted when a webhook is disabled, in the transaction that does it. Must give the same twice."""


def delivery_id(webhook_id: str, event_id: str) -> str:
    """The id of the one delivery of this event to this webhook, as `fan_out` makes it."""
    digest = hashlib.sha256(f"{webhook_id} {event_id}".encode()).digest()[:16]
    return f"dlv_{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def count_failures(before: int, attempts: tuple[Attempted, ...]) -> int:
    """Failures in a row after *attempts*, in the order in which they ended, when there were *before* of them."""
    for attempt in attempts:
        before = 0 if attempt.ok else before + 1
    return before


def verdict(failures: int, attempts: tuple[Attempted, ...], most: int) -> DisabledReason | None:
    """Why the webhook must be disabled after these attempts, if it must."""
    if any(attempt.gone for attempt in attempts):
        return DisabledReason.GONE
    return DisabledReason.FAILURES if failures >= most else None
