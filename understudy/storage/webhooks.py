# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Webhooks and what became of their deliveries, as their owners see them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import attrs

from understudy.storage.audit import is_recorded, record
from understudy.storage.connection import Connection
from understudy.storage.deliveries import Delivery, DeliveryStatus, DisabledReason, Webhook
from understudy.storage.errors import StoreConflict
from understudy.storage.records import AuditEntry
from understudy.storage.repository import Repository, Row, rows
from understudy.storage.rowsecurity import Tenant

WEBHOOK = (
    "id, uid, url, events, secret, created_at, updated_at, workspace_id, description, enabled, disabled_reason,"
    " old_secret, old_secret_until, failures, missed"
)
_DELIVERY = (
    "d.id, d.webhook_id, d.event_id, d.event, d.status, d.created_at, d.attempts, d.next_attempt_at,"
    " d.response_status, d.duration_ms, d.error"
)
_OF_OWNER = "d.webhook_id = %(webhook)s AND EXISTS (SELECT FROM webhooks WHERE id = %(webhook)s AND uid = %(uid)s)"


class WebhookRepository(Repository):
    """The webhooks of one user at a time: every query is about their owner, and reaches nobody else's.

    Reads are made as that tenant (see `rowsecurity`). A change and its line in the audit log are one transaction.
    """

    async def create(self, webhook: Webhook, audit: AuditEntry, *, most: int) -> None:
        """Store a new webhook. Raises `StoreConflict` (``number of webhooks``) when its owner has *most* already."""

        async def work(connection: Connection[Any]) -> None:
            # One after the other: else two that come together could both find room for one.
            await rows(connection, "SELECT FROM users WHERE id = %s FOR NO KEY UPDATE", webhook.uid)
            there = await rows(connection, "SELECT id FROM webhooks WHERE uid = %s", webhook.uid)
            if (webhook.id,) in there:
                return  # our own first attempt, whose answer was lost
            if len(there) >= most:
                raise StoreConflict("number of webhooks")
            values = _values(webhook)
            places = ", ".join(["%s"] * len(values))
            await rows(connection, f"INSERT INTO webhooks ({WEBHOOK}) VALUES ({places})", *values)
            await record(connection, audit)

        await self._transact(work)

    async def find(self, uid: str, webhook_id: str) -> Webhook | None:
        """One webhook, if it is this user's."""
        row = await self._row(
            f"SELECT {WEBHOOK} FROM webhooks WHERE id = %s AND uid = %s", webhook_id, uid, tenant=Tenant(uid)
        )
        return read_webhook(row) if row else None

    async def list(self, uid: str) -> tuple[Webhook, ...]:
        """All webhooks of this user, oldest first."""
        found = await self._rows(
            f"SELECT {WEBHOOK} FROM webhooks WHERE uid = %s ORDER BY created_at, id", uid, tenant=Tenant(uid)
        )
        return tuple(map(read_webhook, found))

    async def change(
        self, uid: str, webhook_id: str, change: Callable[[Webhook], Webhook], audit: AuditEntry
    ) -> Webhook | None:
        """Make of the webhook what *change* makes of it; None when this user has none of this id.

        Of one that is disabled now, nothing is due until it is enabled; of one that is enabled now, what had waited for
        that is due. *change* may be called twice and must give the same; what it raises is raised.
        """

        async def work(connection: Connection[Any]) -> Webhook | None:
            found = await rows(
                connection,
                f"SELECT {WEBHOOK} FROM webhooks WHERE id = %s AND uid = %s FOR NO KEY UPDATE",
                webhook_id,
                uid,
            )
            if not found:
                return None
            before = read_webhook(found[0])
            after = change(before)
            places = ", ".join(["%s"] * (len(found[0]) - 1))
            columns = WEBHOOK.partition(", ")[2]
            await rows(
                connection, f"UPDATE webhooks SET ({columns}) = ({places}) WHERE id = %s", *_values(after)[1:], after.id
            )
            if before.enabled != after.enabled:
                await park(connection, after.id, until=after.updated_at if after.enabled else None)
            await record(connection, audit)
            return after

        return await self._transact(work)

    async def delete(self, uid: str, webhook_id: str, audit: AuditEntry) -> bool:
        """Delete the webhook with its deliveries, pending ones too; whether there was one."""

        async def work(connection: Connection[Any]) -> bool:
            gone = await rows(
                connection, "DELETE FROM webhooks WHERE id = %s AND uid = %s RETURNING id", webhook_id, uid
            )
            if not gone:
                # Perhaps it was deleted by our own first attempt, whose answer was lost: then its line is in the log.
                return await is_recorded(connection, audit)
            await record(connection, audit)
            return True

        return await self._transact(work)

    async def history(self, uid: str, webhook_id: str, *, limit: int) -> tuple[Delivery, ...]:
        """The newest deliveries of the webhook, newest first; none when it is not this user's."""
        found = await self._rows(
            f"SELECT {_DELIVERY} FROM webhook_deliveries d WHERE {_OF_OWNER}"
            " ORDER BY d.created_at DESC, d.id LIMIT %(limit)s",
            uid=uid,
            webhook=webhook_id,
            limit=limit,
            tenant=Tenant(uid),
        )
        return tuple(map(_delivery, found))

    async def delivery(self, uid: str, webhook_id: str, delivery: str) -> Delivery | None:
        """One delivery of the webhook, if that is this user's."""
        found = await self._rows(
            f"SELECT {_DELIVERY} FROM webhook_deliveries d WHERE {_OF_OWNER} AND d.id = %(delivery)s",
            uid=uid,
            webhook=webhook_id,
            delivery=delivery,
            tenant=Tenant(uid),
        )
        return _delivery(found[0]) if found else None

    async def record(self, uid: str, delivery: Delivery, body: str) -> None:
        """Keep a delivery of *body* that has ended already."""
        await self._rows(
            "INSERT INTO webhook_deliveries (id, queue, webhook_id, uid, event_id, event, body, status, attempts, step,"
            " response_status, duration_ms, error, created_at)"
            " SELECT %s, id, id, uid, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s FROM webhooks WHERE id = %s AND uid = %s"
            " ON CONFLICT DO NOTHING",
            delivery.id,
            delivery.event_id,
            delivery.event,
            body,
            delivery.status.value,
            delivery.attempts,
            delivery.attempts,
            delivery.response_status,
            delivery.duration_ms,
            delivery.error,
            delivery.created_at,
            delivery.webhook_id,
            uid,
            tenant=Tenant(uid),
        )

    async def replay(
        self, uid: str, webhook_id: str, delivery: str, audit: AuditEntry, *, now: datetime
    ) -> Delivery | None:
        """Make an ended delivery due once more, with all its tries; None when this user has none of this id.

        Raises `StoreConflict`: ``delivery`` while it is pending, ``webhook`` while that is disabled.
        """

        async def work(connection: Connection[Any]) -> Delivery | None:
            found = await rows(
                connection,
                f"SELECT {_DELIVERY}, w.enabled FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id"
                " WHERE d.id = %s AND w.id = %s AND w.uid = %s FOR UPDATE OF d FOR SHARE OF w",
                delivery,
                webhook_id,
                uid,
            )
            if not found:
                return None
            known = _delivery(found[0][:-1])
            if await is_recorded(connection, audit):
                return known
            if not found[0][-1]:
                raise StoreConflict("webhook")
            if known.status is DeliveryStatus.PENDING:
                raise StoreConflict("delivery")
            await rows(
                connection,
                "UPDATE webhook_deliveries SET status = 'pending', step = 0, claim = claim + 1, next_attempt_at = %s"
                " WHERE id = %s",
                now,
                known.id,
            )
            await record(connection, audit)
            return attrs.evolve(known, status=DeliveryStatus.PENDING, next_attempt_at=now)

        return await self._transact(work)


async def park(connection: Connection[Any], webhook_id: str, *, until: datetime | None) -> None:
    """Make the webhook's pending deliveries due then; None is until it is enabled again."""
    await rows(
        connection,
        "UPDATE webhook_deliveries SET next_attempt_at = %s WHERE webhook_id = %s AND status = 'pending'",
        until,
        webhook_id,
    )


def _values(webhook: Webhook) -> tuple[Any, ...]:
    """The webhook's columns, in the order of `WEBHOOK`."""
    return (
        webhook.id,
        webhook.uid,
        webhook.url,
        list(webhook.events),
        webhook.secret,
        webhook.created_at,
        webhook.updated_at,
        webhook.workspace_id,
        webhook.description,
        webhook.enabled,
        webhook.disabled_reason,
        webhook.old_secret,
        webhook.old_secret_until,
        webhook.failures,
        webhook.missed,
    )


def read_webhook(row: Row) -> Webhook:
    """A row of the columns `WEBHOOK`."""
    webhook_id, uid, url, events, *rest = row
    webhook = Webhook(webhook_id, uid, url, tuple(events), *rest)
    return attrs.evolve(webhook, disabled_reason=webhook.disabled_reason and DisabledReason(webhook.disabled_reason))


def _delivery(row: Row) -> Delivery:
    delivery = Delivery(*row)
    return attrs.evolve(delivery, status=DeliveryStatus(delivery.status))
