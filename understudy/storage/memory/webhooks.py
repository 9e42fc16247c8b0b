"""Webhooks in memory."""

from collections.abc import Callable
from datetime import datetime

import attrs

from understudy.storage.deliveries import Delivery, DeliveryStatus, Webhook
from understudy.storage.errors import StoreConflict, Unstorable
from understudy.storage.memory.tables import Sent, Tables
from understudy.storage.records import AuditEntry


class MemoryWebhooks:
    """See `understudy.storage.webhooks.WebhookRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def create(self, webhook: Webhook, audit: AuditEntry, *, most: int) -> None:
        """As the real one."""
        there = await self.list(webhook.uid)
        if any(known.id == webhook.id for known in there):
            return
        if len(there) >= most:
            raise StoreConflict("number of webhooks")
        if webhook.uid not in self._tables.users:
            raise Unstorable("the user does not exist")
        self._tables.webhooks[webhook.id] = webhook
        self._tables.append_audit(audit)

    async def find(self, uid: str, webhook_id: str) -> Webhook | None:
        """As the real one."""
        self._tables.check()
        webhook = self._tables.webhooks.get(webhook_id)
        return webhook if webhook is not None and webhook.uid == uid else None

    async def list(self, uid: str) -> tuple[Webhook, ...]:
        """As the real one."""
        self._tables.check()
        mine = [webhook for webhook in self._tables.webhooks.values() if webhook.uid == uid]
        return tuple(sorted(mine, key=lambda webhook: (webhook.created_at, webhook.id)))

    async def change(
        self, uid: str, webhook_id: str, change: Callable[[Webhook], Webhook], audit: AuditEntry
    ) -> Webhook | None:
        """As the real one."""
        before = await self.find(uid, webhook_id)
        if before is None:
            return None
        after = self._tables.webhooks[webhook_id] = change(before)
        if before.enabled != after.enabled:
            park(self._tables, webhook_id, until=after.updated_at if after.enabled else None)
        self._tables.append_audit(audit)
        return after

    async def delete(self, uid: str, webhook_id: str, audit: AuditEntry) -> bool:
        """As the real one."""
        if await self.find(uid, webhook_id) is None:
            return any(line.entry.id == audit.id for line in self._tables.audit)
        del self._tables.webhooks[webhook_id]
        kept = {key: sent for key, sent in self._tables.deliveries.items() if sent.webhook_id != webhook_id}
        self._tables.deliveries = kept
        self._tables.append_audit(audit)
        return True

    async def history(self, uid: str, webhook_id: str, *, limit: int) -> tuple[Delivery, ...]:
        """As the real one."""
        if await self.find(uid, webhook_id) is None:
            return ()
        sent = [sent for sent in self._tables.deliveries.values() if sent.webhook_id == webhook_id]
        sent.sort(key=lambda each: each.id)
        return tuple(_shown(each) for each in sorted(sent, key=lambda each: each.created_at, reverse=True)[:limit])

    async def delivery(self, uid: str, webhook_id: str, delivery: str) -> Delivery | None:
        """As the real one."""
        shown = await self.history(uid, webhook_id, limit=2**31)
        return next((each for each in shown if each.id == delivery), None)

    async def record(self, uid: str, delivery: Delivery, body: str) -> None:
        """As the real one."""
        if await self.find(uid, delivery.webhook_id) is None or delivery.id in self._tables.deliveries:
            return
        told = attrs.asdict(delivery) | {"uid": uid, "queue": delivery.webhook_id, "body": body}
        self._tables.deliveries[delivery.id] = Sent(**told, step=delivery.attempts)

    async def replay(
        self, uid: str, webhook_id: str, delivery: str, audit: AuditEntry, *, now: datetime
    ) -> Delivery | None:
        """As the real one."""
        webhook, sent = await self.find(uid, webhook_id), self._tables.deliveries.get(delivery)
        if webhook is None or sent is None or sent.webhook_id != webhook_id:
            return None
        if any(line.entry.id == audit.id for line in self._tables.audit):
            return _shown(sent)
        if not webhook.enabled:
            raise StoreConflict("webhook")
        if sent.status is DeliveryStatus.PENDING:
            raise StoreConflict("delivery")
        sent.status, sent.step, sent.claim, sent.next_attempt_at = DeliveryStatus.PENDING, 0, sent.claim + 1, now
        self._tables.append_audit(audit)
        return _shown(sent)


def park(tables: Tables, webhook_id: str, *, until: datetime | None) -> None:
    """Make the webhook's pending deliveries due then."""
    for sent in tables.deliveries.values():
        if sent.webhook_id == webhook_id and sent.status is DeliveryStatus.PENDING:
            sent.next_attempt_at = until


def _shown(sent: Sent) -> Delivery:
    return Delivery(**{field.name: getattr(sent, field.name) for field in attrs.fields(Delivery)})
