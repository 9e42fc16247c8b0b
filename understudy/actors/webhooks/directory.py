"""The actor that knows every user's webhooks."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

import attrs
import trio

from understudy.actors.errors import Conflict, Detail, Invalid, NotFound
from understudy.actors.facts import Fact
from understudy.actors.made import is_keyed, made_id
from understudy.actors.outbound.guarded import OutboundError, OutboundRefused
from understudy.actors.serving import Server
from understudy.actors.webhooks.events import TEST, envelope
from understudy.actors.webhooks.fanout import wake
from understudy.actors.webhooks.messages import (
    ANY,
    EVENTS,
    MOST_WEBHOOKS,
    UNCHANGED,
    ChangeWebhook,
    CheckCallback,
    CreateWebhook,
    DeleteWebhook,
    Delivery,
    DeliveryStatus,
    GetWebhook,
    ListDeliveries,
    ListWebhooks,
    Owner,
    ReplayDelivery,
    Tested,
    TestWebhook,
    Webhook,
)
from understudy.actors.webhooks.ports import WebhookStore
from understudy.actors.webhooks.signing import LONGEST_SECRET, SHORTEST_SECRET, new_secret, secret_issue
from understudy.actors.webhooks.webhook import Delivering, headers_of
from understudy.runtime import Deferred, receive
from understudy.storage.deliveries import Claimed
from understudy.storage.errors import StoreConflict
from understudy.storage.records import AuditEntry

OLD_SECRET = timedelta(hours=24)
"""How long the secret before the present one signs too."""

CHECK = 2.0
"""Seconds in which the host of a callback must be resolved to be refused at once."""

UNKNOWN = "there is no such webhook"


class Webhooks(Server):
    """Keeps nothing in memory. Refusals are as in `messages`."""

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(self, store: WebhookStore, services: Delivering) -> None:
        self._store = store
        self._poster = services.poster
        self._now = services.now
        self._made = self._tests = 0

    @receive
    def create(self, message: CreateWebhook) -> Deferred[Webhook]:
        """Make a webhook."""
        return self.answer(message, self._create, message)

    @receive
    def list_webhooks(self, message: ListWebhooks) -> Deferred[tuple[Webhook, ...]]:
        """All of a user's."""
        return self.answer(message, self._store.list, message.uid)

    @receive
    def get(self, message: GetWebhook) -> Deferred[Webhook]:
        """One webhook."""
        return self.answer(message, self._get, message.uid, message.webhook_id)

    @receive
    def change(self, message: ChangeWebhook) -> Deferred[Webhook]:
        """Change a webhook."""
        return self.answer(message, self._change, message)

    @receive
    def delete(self, message: DeleteWebhook) -> Deferred[None]:
        """Delete a webhook."""
        return self.answer(message, self._delete, message)

    @receive
    def list_deliveries(self, message: ListDeliveries) -> Deferred[tuple[Delivery, ...]]:
        """The history of a webhook."""
        return self.answer(message, self._history, message)

    @receive
    def replay(self, message: ReplayDelivery) -> Deferred[Delivery]:
        """Deliver something again."""
        return self.answer(message, self._replay, message)

    @receive
    def test(self, message: TestWebhook) -> Deferred[Tested]:
        """Send a test event."""
        return self.answer(message, self._test, message)

    @receive
    def check_callback(self, message: CheckCallback) -> Deferred[None]:
        """Look at the URL of a chat's answer."""
        return self.answer(message, self._check_callback, message.url)

    def snapshot(self) -> Mapping[str, object]:
        """What was asked since the start."""
        return {"made": self._made, "tests": self._tests}

    async def _create(self, message: CreateWebhook) -> Webhook:
        now = self._now()
        await self._approve(message.url)
        webhook = Webhook(
            id=made_id("whk"),
            uid=message.owner.uid,
            url=message.url,
            events=_checked_events(message.events),
            secret=_checked_secret(message.secret) if message.secret is not None else new_secret(),
            created_at=now,
            updated_at=now,
            workspace_id=message.workspace_id,
            description=message.description,
            enabled=message.enabled,
        )
        audit = self._audit("webhook.created", message.owner, webhook.id, workspace_id=webhook.workspace_id)
        try:
            await self._store.create(webhook, audit, most=MOST_WEBHOOKS)
        except StoreConflict as conflict:
            raise Conflict(f"a user may have {MOST_WEBHOOKS} webhooks: delete one first") from conflict
        self._made += 1
        # An earlier attempt's, if that came so far: its secret and times are those that count.
        return await self._get(message.owner.uid, webhook.id) if is_keyed() else webhook

    async def _get(self, uid: str, webhook_id: str) -> Webhook:
        webhook = await self._store.find(uid, webhook_id)
        if webhook is None:
            raise NotFound(UNKNOWN)
        return webhook

    async def _change(self, message: ChangeWebhook) -> Webhook:
        before = await self._get(message.owner.uid, message.webhook_id)
        if message.url is not UNCHANGED and message.url != before.url:
            await self._approve(message.url)
        now = self._now()
        named = ("url", "events", "description", "enabled", "workspace_id", "secret")
        changes: dict[str, Any] = {n: v for n in named if (v := getattr(message, n)) is not UNCHANGED}
        if "events" in changes:
            changes["events"] = _checked_events(changes["events"])
        if "secret" in changes:
            _checked_secret(changes["secret"])

        def change(known: Webhook) -> Webhook:
            after = attrs.evolve(known, updated_at=now, **changes)
            if after.secret != known.secret:
                after = attrs.evolve(after, old_secret=known.secret, old_secret_until=now + OLD_SECRET)
            if after.enabled and not known.enabled:
                after = attrs.evolve(after, disabled_reason=None, failures=0)
            return after

        audit = self._audit("webhook.changed", message.owner, message.webhook_id, fields=sorted(changes))
        changed = await self._store.change(message.owner.uid, message.webhook_id, change, audit)
        if changed is None:
            raise NotFound(UNKNOWN)
        if changed.enabled and not before.enabled:
            await wake(self.system, (changed.id,))
        return changed

    async def _delete(self, message: DeleteWebhook) -> None:
        audit = self._audit("webhook.deleted", message.owner, message.webhook_id)
        if not await self._store.delete(message.owner.uid, message.webhook_id, audit):
            raise NotFound(UNKNOWN)

    async def _history(self, message: ListDeliveries) -> tuple[Delivery, ...]:
        await self._get(message.uid, message.webhook_id)
        return await self._store.history(message.uid, message.webhook_id, limit=message.limit)

    async def _replay(self, message: ReplayDelivery) -> Delivery:
        uid, webhook_id = message.owner.uid, message.webhook_id
        audit = self._audit("webhook.replayed", message.owner, webhook_id, delivery=message.delivery_id)
        try:
            replayed = await self._store.replay(uid, webhook_id, message.delivery_id, audit, now=self._now())
        except StoreConflict as conflict:
            off = conflict.what == "webhook"
            raise Conflict("the webhook is disabled: enable it first" if off else "it is pending already") from conflict
        if replayed is None:
            raise NotFound("there is no such delivery")
        await wake(self.system, (webhook_id,))
        return replayed

    async def _test(self, message: TestWebhook) -> Tested:
        webhook = await self._get(message.owner.uid, message.webhook_id)
        now, delivery = self._now(), made_id("dlv")
        if is_keyed() and (sent := await self._store.delivery(webhook.uid, webhook.id, delivery)) is not None:
            ended = sent.status is DeliveryStatus.SUCCESS
            return Tested(ended, sent.response_status, sent.duration_ms or 0, sent.error)
        # An attempt that was killed between the sending and the note of it sends again, under the same ids.
        told = Fact(made_id("evt"), TEST, now, webhook.uid, webhook.workspace_id, {"webhookId": webhook.id})
        body = envelope(told)
        trial = Claimed(delivery, 1, 0, told.id, TEST, webhook.url, webhook.secrets(now), body)
        posted = await self._poster.post(webhook.url, headers_of(trial, body.encode(), now), body.encode())
        status = DeliveryStatus.SUCCESS if posted.ok else DeliveryStatus.FAILED
        result = (1, None, posted.status, posted.duration_ms, posted.error)
        await self._store.record(webhook.uid, Delivery(trial.id, webhook.id, told.id, TEST, status, now, *result), body)
        self._tests += 1
        return Tested(posted.ok, posted.status, posted.duration_ms, posted.error)

    async def _check_callback(self, url: str) -> None:
        with trio.move_on_after(CHECK):
            await self._approve(url, "webhookUrl", known=False)

    async def _approve(self, url: str, path: str = "url", *, known: bool = True) -> None:
        try:
            await self._poster.approve(url)
        except OutboundError as error:
            if known or isinstance(error, OutboundRefused):
                raise Invalid(f"{path}: {error}", details=(Detail(path, "not_allowed"),)) from error

    def _audit(self, event: str, owner: Owner, webhook_id: str, **metadata: object) -> AuditEntry:
        return AuditEntry(
            id=made_id("aud", event),
            event=event,
            severity="info",
            created_at=self._now(),
            uid=owner.uid,
            request_id=owner.request_id,
            metadata={"webhook": webhook_id, **metadata},
        )


def _checked_events(events: tuple[str, ...]) -> tuple[str, ...]:
    for number, event in enumerate(events):
        if event != ANY and event not in EVENTS:
            known = ", ".join(EVENTS)
            path = f"events[{number}]"
            raise Invalid(
                f"{path}: there is no event {event!r:.100}; there are {known}, and {ANY} for all",
                details=(Detail(path, "unknown_event"),),
            )
    return tuple(dict.fromkeys(events))


def _checked_secret(secret: str) -> str:
    issue = secret_issue(secret)
    if issue is not None:
        raise Invalid(
            f"secret: it must be {SHORTEST_SECRET} to {LONGEST_SECRET} visible ASCII characters, and base64 if it"
            " begins with whsec_",
            details=(Detail("secret", issue, LONGEST_SECRET if issue == "too_long" else None),),
        )
    return secret
