"""`/webhooks`: where the caller wants to be told of what, and what became of it."""

from typing import Any

import msgspec
from quart import Blueprint

from understudy.actors.webhooks.messages import (
    UNCHANGED,
    WEBHOOKS,
    ChangeWebhook,
    CreateWebhook,
    DeleteWebhook,
    Delivery,
    GetWebhook,
    ListDeliveries,
    ListWebhooks,
    Owner,
    ReplayDelivery,
    TestWebhook,
    Webhook,
)
from understudy.actors.workspaces.messages import WORKSPACES, ResolveWorkspace, WorkspaceRole
from understudy.http import schemas_webhooks as shapes
from understudy.http.access import once, user
from understudy.http.decode import body, query
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import ApiRequest, this_request

routes = Blueprint("webhooks", __name__, url_prefix="/webhooks")

PATIENCE = 20.0
"""Seconds for an answer: a URL has its host resolved, a test takes as long as its receiver."""

_WEBHOOK = {
    "id": "whk_5qd0b1aX",
    "url": "https://hooks.example.org/in",
    "events": ["agent.completed", "heartbeat.fired"],
    "description": "To the team's channel",
    "enabled": True,
    "disabledReason": None,
    "workspaceId": None,
    "failures": 0,
    "missed": 0,
    "oldSecretUntil": None,
    "createdAt": "2026-03-01T08:00:00Z",
    "updatedAt": "2026-03-01T08:00:00Z",
}
_DELIVERY = {
    "id": "dlv_71ab",
    "eventId": "evt_4t",
    "event": "heartbeat.fired",
    "status": "pending",
    "attempts": 1,
    "responseStatus": 500,
    "durationMs": 41,
    "error": "answered 500",
    "createdAt": "2026-03-02T09:15:00Z",
    "nextAttemptAt": "2026-03-02T09:15:05Z",
}
_NEW = {"url": _WEBHOOK["url"], "events": _WEBHOOK["events"], "description": _WEBHOOK["description"]}


@routes.post("")
@operation(
    "createWebhook",
    Auth.JWT,
    body=shapes.NewWebhook,
    replies={201: shapes.WebhookCreated},
    headers=("X-Idempotency-Key",),
    errors=("FORBIDDEN", "CONFLICT", "RATE_LIMIT"),
    example=_NEW,
    reply_example={**_WEBHOOK, "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"},
)
async def create_webhook() -> Reply:
    """Make a webhook.

    It is told of what happens to you, in all your workspaces or in the one you name. The secret, which every delivery
    is signed with, is shown in this answer and never again. The URL must be `https` and lead to the public internet.
    """
    request = this_request()
    owner = await _owner(request)
    given = body(request, shapes.NewWebhook)

    async def do() -> Reply:
        await _belongs(request, owner, given.workspace_id)
        message = CreateWebhook(
            owner,
            given.url,
            tuple(given.events),
            given.description,
            given.secret,
            given.enabled,
            given.workspace_id,
        )
        made = await request.ask(WEBHOOKS, message)
        shown = msgspec.convert(made, shapes.WebhookCreated, from_attributes=True)
        return json(shown, 201, ((b"location", f"/webhooks/{made.id}".encode()),))

    return await once(request, owner.uid, do)


@routes.get("")
@operation(
    "listWebhooks",
    Auth.JWT,
    replies={200: shapes.WebhookList},
    errors=("RATE_LIMIT",),
    reply_example={"webhooks": [_WEBHOOK], "total": 1},
)
async def list_webhooks() -> Reply:
    """List your webhooks, without their secrets."""
    request = this_request()
    owner = await _owner(request)
    found = await request.ask(WEBHOOKS, ListWebhooks(owner.uid))
    return json(shapes.WebhookList(webhooks=[_webhook(webhook) for webhook in found], total=len(found)))


@routes.get("/<id>")
@operation(
    "getWebhook",
    Auth.JWT,
    replies={200: shapes.Webhook},
    errors=("NOT_FOUND", "RATE_LIMIT"),
    reply_example=_WEBHOOK,
)
async def get_webhook(id: str) -> Reply:
    """Read a webhook, without its secret."""
    request = this_request()
    owner = await _owner(request)
    return json(_webhook(await request.ask(WEBHOOKS, GetWebhook(owner.uid, id))))


@routes.put("/<id>")
@operation(
    "updateWebhook",
    Auth.JWT,
    body=shapes.WebhookChange,
    replies={200: shapes.Webhook},
    errors=("FORBIDDEN", "NOT_FOUND", "RATE_LIMIT"),
    example={"enabled": True, "events": ["*"]},
    reply_example={**_WEBHOOK, "events": ["*"]},
)
async def update_webhook(id: str) -> Reply:
    """Change a webhook.

    What the body leaves out stays. After a new `secret`, deliveries are signed with the old one too for 24 hours.
    While it is disabled, nothing is sent and nothing new is kept for it; what waited goes on when it is enabled again.
    """
    request = this_request()
    owner = await _owner(request)
    given = body(request, shapes.WebhookChange)
    changes: dict[str, Any] = {
        name: UNCHANGED if (value := getattr(given, name)) is msgspec.UNSET else value
        for name in given.__struct_fields__
    }
    if given.events is not msgspec.UNSET:
        changes["events"] = tuple(given.events)
    if isinstance(given.workspace_id, str):
        await _belongs(request, owner, given.workspace_id)
    return json(_webhook(await request.ask(WEBHOOKS, ChangeWebhook(owner, id, **changes))))


@routes.delete("/<id>")
@operation("deleteWebhook", Auth.JWT, replies={204: None}, errors=("NOT_FOUND", "RATE_LIMIT"))
async def delete_webhook(id: str) -> Reply:
    """Delete a webhook.

    What has not been delivered is not any more, and its history is gone.
    """
    request = this_request()
    owner = await _owner(request)
    await request.ask(WEBHOOKS, DeleteWebhook(owner, id))
    return Reply(204)


@routes.get("/<id>/deliveries")
@operation(
    "listWebhookDeliveries",
    Auth.JWT,
    query=shapes.DeliveriesQuery,
    replies={200: shapes.DeliveryList},
    errors=("NOT_FOUND", "RATE_LIMIT"),
    reply_example={"deliveries": [_DELIVERY]},
)
async def list_deliveries(id: str) -> Reply:
    """See what became of a webhook's deliveries, newest first.

    They are kept for 30 days.
    """
    request = this_request()
    owner = await _owner(request)
    asked = query(request, shapes.DeliveriesQuery)
    found = await request.ask(WEBHOOKS, ListDeliveries(owner.uid, id, asked.limit))
    return json(shapes.DeliveryList(deliveries=[_delivery(delivery) for delivery in found]))


@routes.post("/<id>/deliveries/<deliveryId>/replay")
@operation(
    "replayWebhookDelivery",
    Auth.JWT,
    replies={202: shapes.Delivery},
    headers=("X-Idempotency-Key",),
    errors=("NOT_FOUND", "CONFLICT", "RATE_LIMIT"),
    reply_example=_DELIVERY,
)
async def replay_delivery(id: str, deliveryId: str) -> Reply:  # noqa: N803  # the contract's names for them
    """Deliver something once more.

    The receiver gets the same id and the same body; all tries are made anew. Not while it is pending (409), nor while
    the webhook is disabled (409).
    """
    request = this_request()
    owner = await _owner(request)

    async def do() -> Reply:
        return json(_delivery(await request.ask(WEBHOOKS, ReplayDelivery(owner, id, deliveryId))), 202)

    return await once(request, owner.uid, do)


@routes.post("/<id>/test")
@operation(
    "testWebhook",
    Auth.JWT,
    replies={200: shapes.WebhookTested},
    headers=("X-Idempotency-Key",),
    errors=("NOT_FOUND", "RATE_LIMIT"),
    reply_example={"delivered": True, "status": 204, "durationMs": 41, "error": None},
)
async def test_webhook(id: str) -> Reply:
    """Send a test event, `webhook.test`, and see what the receiver says.

    It is tried once, within 10 s, also when the webhook is disabled. That it failed is an answer too, and no error.
    """
    request = this_request()
    owner = await _owner(request)

    async def do() -> Reply:
        told = await request.ask(WEBHOOKS, TestWebhook(owner, id))
        return json(msgspec.convert(told, shapes.WebhookTested, from_attributes=True))

    return await once(request, owner.uid, do)


async def _owner(request: ApiRequest) -> Owner:
    principal = await user(request)
    return Owner(principal.uid, request.id)


async def _belongs(request: ApiRequest, owner: Owner, workspace_id: str | None) -> None:
    if workspace_id is not None:
        await request.node.ask(WORKSPACES, ResolveWorkspace(owner.uid, workspace_id, WorkspaceRole.VIEWER))


def _webhook(webhook: Webhook) -> shapes.Webhook:
    return msgspec.convert(webhook, shapes.Webhook, from_attributes=True)


def _delivery(delivery: Delivery) -> shapes.Delivery:
    return msgspec.convert(delivery, shapes.Delivery, from_attributes=True)
