"""The JSON of `/webhooks`."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from understudy.actors.webhooks.messages import EVENTS, DeliveryStatus, DisabledReason
from understudy.http.schemas import Slug, Wire

Url = Annotated[str, Meta(min_length=1, max_length=2048, examples=["https://hooks.example.org/in"])]
EventName = Annotated[str, Meta(min_length=1, max_length=100, description=f"One of: {', '.join(EVENTS)}; or `*`.")]
Events = Annotated[list[EventName], Meta(min_length=1, max_length=100)]
Description = Annotated[str, Meta(max_length=200)]
Secret = Annotated[str, Meta(min_length=1, max_length=256)]


class NewWebhook(Wire, frozen=True):
    """A new webhook. Without a ``secret`` one is made; with a ``workspaceId`` it is told of that workspace alone."""

    url: Url
    events: Events
    description: Description | None = None
    secret: Secret | None = None
    enabled: bool = True
    workspace_id: Slug | None = None


class WebhookChange(Wire, frozen=True):
    """What is to change; what is left out stays. A new ``secret`` leaves the old one valid for 24 hours."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    secret: Secret | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    workspace_id: Slug | UnsetType | None = UNSET


class DeliveriesQuery(Wire, frozen=True):
    """How many deliveries, newest first."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class Webhook(Wire, frozen=True):
    """A webhook, without its secret.

    ``disabledReason`` is why the server disabled it, ``failures`` counts failed tries in a row, ``missed`` the events
    that came while too many others waited.
    """

    id: str
    url: str
    events: list[str]
    description: str | None
    enabled: bool
    disabled_reason: DisabledReason | None
    workspace_id: str | None
    failures: int
    missed: int
    old_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime


class WebhookCreated(Webhook, frozen=True, kw_only=True):
    """A new webhook with its secret, which is never shown again."""

    secret: str


class WebhookList(Wire, frozen=True):
    """All of the caller's webhooks, oldest first."""

    webhooks: list[Webhook]
    total: int


class Delivery(Wire, frozen=True):
    """An event on its way to a webhook.

    ``responseStatus``, ``durationMs`` and ``error`` are of the last try. A pending one without ``nextAttemptAt`` waits
    for its webhook to be enabled.
    """

    id: str
    event_id: str
    event: str
    status: DeliveryStatus
    attempts: int
    response_status: int | None
    duration_ms: int | None
    error: str | None
    created_at: datetime
    next_attempt_at: datetime | None


class DeliveryList(Wire, frozen=True):
    """The newest deliveries, newest first."""

    deliveries: list[Delivery]


class WebhookTested(Wire, frozen=True):
    """What became of a test: ``delivered`` is any 2xx."""

    delivered: bool
    status: int | None
    duration_ms: int
    error: str | None
