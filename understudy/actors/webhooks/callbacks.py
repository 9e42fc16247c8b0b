"""Chats whose answer is wanted elsewhere: the wish is committed with its turn, and from then on survives everything."""

from collections.abc import Callable
from datetime import datetime

from understudy.actors.clock import utc_now
from understudy.actors.facts import fact, read_fact
from understudy.actors.store.outbox import Consumer
from understudy.actors.webhooks.events import ANSWER
from understudy.actors.webhooks.fanout import wake
from understudy.actors.webhooks.ports import DeliveryQueue
from understudy.runtime import ActorSystem
from understudy.storage.deliveries import Callback
from understudy.storage.entries import Published
from understudy.storage.records import OutboxItem, SessionKey, new_id

WANTED = "chat.answer_wanted"
"""The fact that a turn was begun whose answer is to be sent to a ``webhookUrl``. No webhook can subscribe to it."""


def answer_wanted(key: SessionKey, turn_id: str, url: str, at: datetime) -> Published:
    """The entry that is written together with the turn's opening: there is no turn without its wish, nor the other."""
    return fact(
        WANTED,
        uid=key.uid,
        workspace_id=key.workspace_id,
        data={"turnId": turn_id, "url": url},
        at=at,
        id=f"evt_{turn_id.removeprefix('trn_')}_wanted",
    )


def callback_consumer(system: ActorSystem, queue: DeliveryQueue, *, now: Callable[[], datetime] = utc_now) -> Consumer:
    """Who puts such wishes into the queue of deliveries. Told of one twice, it keeps one."""

    async def deliver(item: OutboxItem) -> None:
        told = read_fact(item)
        uid, turn_id, url = told.uid or "", told.data["turnId"], told.data["url"]
        await queue.add_callback(Callback(new_id("dlv"), told.id, ANSWER, uid, turn_id, url, now()))
        # Only now: a turn that ends from here on finds the wish, and one that has ended by here is found by this.
        await wake(system, await queue.answer_callbacks(now=now()))

    return Consumer("callbacks", frozenset({WANTED}), deliver)
