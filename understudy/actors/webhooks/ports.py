"""What webhooks need of the storage and of the network."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import attrs

from understudy.actors.lease import Leases
from understudy.storage.deliveries import (
    Attempted,
    Callback,
    Claimed,
    Delivery,
    Disable,
    Happening,
    Webhook,
)
from understudy.storage.records import AuditEntry


class WebhookStore(Protocol):
    """Webhooks of one user at a time; each may raise `StoreUnavailable`. See `storage.webhooks` for the whole."""

    async def create(self, webhook: Webhook, audit: AuditEntry, *, most: int) -> None:
        """Store a new webhook. Raises `StoreConflict` when its owner has *most* already."""
        ...

    async def find(self, uid: str, webhook_id: str) -> Webhook | None:
        """One webhook of this user."""
        ...

    async def list(self, uid: str) -> tuple[Webhook, ...]:
        """All webhooks of this user."""
        ...

    async def change(
        self, uid: str, webhook_id: str, change: Callable[[Webhook], Webhook], audit: AuditEntry
    ) -> Webhook | None:
        """Make of the webhook what *change* makes of it; None when there is none."""
        ...

    async def delete(self, uid: str, webhook_id: str, audit: AuditEntry) -> bool:
        """Delete the webhook with its deliveries; whether there was one."""
        ...

    async def history(self, uid: str, webhook_id: str, *, limit: int) -> tuple[Delivery, ...]:
        """The newest deliveries."""
        ...

    async def delivery(self, uid: str, webhook_id: str, delivery: str) -> Delivery | None:
        """One of them."""
        ...

    async def record(self, uid: str, delivery: Delivery, body: str) -> None:
        """Keep a delivery that has ended already."""
        ...

    async def replay(
        self, uid: str, webhook_id: str, delivery: str, audit: AuditEntry, *, now: datetime
    ) -> Delivery | None:
        """Make an ended delivery due once more. Raises `StoreConflict` (``delivery``, ``webhook``)."""
        ...


class DeliveryQueue(Leases, Protocol):
    """The queues of deliveries; each may raise `StoreUnavailable`. See `storage.delivery_queue` for the whole."""

    async def asked_for(self, told: Sequence[Happening]) -> frozenset[str]:
        """The ids of what somebody might want to be told; of the rest no deliveries can be made."""
        ...

    async def fan_out(self, told: Happening, *, now: datetime, most: int) -> tuple[str, ...]:
        """Make deliveries of what happened; the queues that have something due by that."""
        ...

    async def claim(self, queue: str, limit: int, *, now: datetime, until: datetime) -> tuple[Claimed, ...]:
        """Take due deliveries of a queue."""
        ...

    async def settle(
        self, queue: str, attempts: Sequence[Attempted], *, most_failures: int, disable: Disable
    ) -> Webhook | None:
        """Note what became of tries; the webhook if that disabled it."""
        ...

    async def next_due(self, queue: str) -> datetime | None:
        """When the next of the queue is due."""
        ...

    async def due(self, *, now: datetime, limit: int) -> tuple[str, ...]:
        """Queues that have something due."""
        ...

    async def add_callback(self, callback: Callback) -> None:
        """Keep the wish for a turn's answer."""
        ...

    async def answer_callbacks(self, *, now: datetime) -> tuple[str, ...]:
        """Make every callback due whose turn has ended; the queues."""
        ...

    async def prune(self, before: datetime) -> int:
        """Delete old deliveries."""
        ...


@attrs.frozen
class Posted:
    """What became of one request: a ``status``, or none and an ``error``."""

    status: int | None
    duration_ms: int
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the receiver took it: any 2xx. A redirect is not followed, and is no success."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status == 410


class Poster(Protocol):
    """Sends to URLs that users gave."""

    async def approve(self, url: str) -> None:
        """Whether anything may be sent there. Raises `OutboundRefused`, or `OutboundFailed` for an unknown host."""
        ...

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Posted:
        """One request, allowed anew. Bounded in time; raises nothing but cancellation."""
        ...
