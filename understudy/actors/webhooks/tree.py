"""The part of the tree that webhooks live in."""

from understudy.actors.webhooks.directory import Webhooks
from understudy.actors.webhooks.messages import KIND, WEBHOOKS
from understudy.actors.webhooks.ports import WebhookStore
from understudy.actors.webhooks.sweeper import Sweeper
from understudy.actors.webhooks.webhook import Delivering, WebhookActor
from understudy.runtime import ChildSpec, DynamicSpec, SupervisorSpec

QUARANTINE = 10.0
"""Seconds for which a webhook whose actor keeps crashing is left alone; nobody else notices."""

IDLE_AFTER = 30.0
MOST_LIVE = 10_000


def webhooks_spec(store: WebhookStore, services: Delivering, *, every: float = 5.0) -> SupervisorSpec:
    """The supervisor of all webhooks: their directory, the live ones, and who wakes them every so many seconds."""

    def webhook(queue: str) -> ChildSpec:
        return ChildSpec(queue, WebhookActor, args=(queue, services), idle_after=IDLE_AFTER)

    parent, _, directory = WEBHOOKS.partition("/")
    return SupervisorSpec(
        parent,
        children=(
            ChildSpec(directory, Webhooks, args=(store, services)),
            DynamicSpec("live", kind=KIND, child=webhook, max_children=MOST_LIVE, quarantine=QUARANTINE),
            ChildSpec("sweeper", Sweeper, args=(services.queue,), kwargs={"now": services.now, "every": every}),
        ),
    )
