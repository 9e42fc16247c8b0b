"""What can be asked about webhooks.

Everything is asked on behalf of a user and is about their own: another user's webhook is refused with `NotFound`, as
one that does not exist. Everything may be refused with `Unavailable`. A change is committed when it is answered.
"""

from enum import Enum
from typing import Final, Literal

import attrs

from understudy.actors.webhooks.events import EVENTS as EVENTS
from understudy.runtime import Ask
from understudy.storage.deliveries import ANY as ANY
from understudy.storage.deliveries import Delivery as Delivery
from understudy.storage.deliveries import DeliveryStatus as DeliveryStatus
from understudy.storage.deliveries import DisabledReason as DisabledReason
from understudy.storage.deliveries import Webhook as Webhook

WEBHOOKS = "webhooks/directory"
"""The address of the actor that knows all webhooks."""

KIND = "webhook"
"""Of the actors that deliver, one for each queue."""

MOST_WEBHOOKS = 50
"""Webhooks that a user may have."""


class Unchanged(Enum):
    """The value of what a change leaves as it is: None is one that some fields may be given."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
Kept = Literal[Unchanged.UNCHANGED]


@attrs.frozen
class Owner:
    """Whose webhooks, and in which request: for the audit log."""

    uid: str
    request_id: str | None = None


@attrs.frozen
class Tested:
    """What became of a test: the receiver's ``status``, or none and an ``error``."""

    delivered: bool
    status: int | None
    duration_ms: int
    error: str | None


@attrs.frozen
class CreateWebhook(Ask[Webhook]):
    """A new webhook; without a ``secret``, one is made. The caller has checked that they belong to ``workspace_id``.

    Refused with `Invalid` for a URL that must not be sent to, an unknown event or a bad secret, with `Conflict` when
    there are as many as there may be.
    """

    owner: Owner
    url: str
    events: tuple[str, ...]
    description: str | None = None
    secret: str | None = attrs.field(default=None, repr=False)
    enabled: bool = True
    workspace_id: str | None = None


@attrs.frozen
class ListWebhooks(Ask[tuple[Webhook, ...]]):
    """All of the user's, oldest first."""

    uid: str


@attrs.frozen
class GetWebhook(Ask[Webhook]):
    """One of them."""

    uid: str
    webhook_id: str


@attrs.frozen
class ChangeWebhook(Ask[Webhook]):
    """Other values for some fields. A new ``secret`` leaves the old one valid for a day; both sign meanwhile.

    Enabling begins the count of failures anew, and lets go what waits. Refused as `CreateWebhook`.
    """

    owner: Owner
    webhook_id: str
    url: str | Kept = UNCHANGED
    events: tuple[str, ...] | Kept = UNCHANGED
    description: str | Kept | None = UNCHANGED
    secret: str | Kept = attrs.field(default=UNCHANGED, repr=False)
    enabled: bool | Kept = UNCHANGED
    workspace_id: str | Kept | None = UNCHANGED


@attrs.frozen
class DeleteWebhook(Ask[None]):
    """Nothing more is delivered, also not what waits; the history goes too."""

    owner: Owner
    webhook_id: str


@attrs.frozen
class ListDeliveries(Ask[tuple[Delivery, ...]]):
    """The newest deliveries, newest first."""

    uid: str
    webhook_id: str
    limit: int = 50


@attrs.frozen
class ReplayDelivery(Ask[Delivery]):
    """Deliver once more what was delivered or given up: the same id and body, all tries anew.

    Refused with `Conflict` while it is pending, or its webhook disabled.
    """

    owner: Owner
    webhook_id: str
    delivery_id: str


@attrs.frozen
class TestWebhook(Ask[Tested]):
    """Send a test event, now and once, also to a disabled webhook. Takes as long as the receiver, at most 10 s."""

    __test__ = False  # for pytest, which takes it for one of its own

    owner: Owner
    webhook_id: str


@attrs.frozen
class CheckCallback(Ask[None]):
    """Whether the answer of a chat may be sent to this URL: refused with `Invalid` when it must not.

    Takes 2 s at most: what is not known by then is found out when it is sent.
    """

    url: str


@attrs.frozen
class Wake:
    """Told to a webhook's actor: there may be something to deliver."""


def webhook_address(queue: str) -> str:
    """Where the deliveries of a queue are made."""
    return f"{KIND}/{queue}"
