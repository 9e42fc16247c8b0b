"""From facts to deliveries."""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

import trio

from understudy.actors.clock import utc_now
from understudy.actors.facts import read_fact
from understudy.actors.store.outbox import Consumer
from understudy.actors.webhooks.events import happening
from understudy.actors.webhooks.messages import EVENTS, Wake, webhook_address
from understudy.actors.webhooks.ports import DeliveryQueue
from understudy.runtime import ActorSystem, Refusal, RuntimeFault
from understudy.storage.records import OutboxItem

PATIENCE = 1.0
"""Seconds that whoever wakes waits for actors to start."""

MOST_PENDING = 10_000
"""Deliveries of one webhook that may wait. What happens beyond that it is not told, only how often that was so."""


def webhook_consumer(system: ActorSystem, queue: DeliveryQueue, *, now: Callable[[], datetime] = utc_now) -> Consumer:
    """Who turns facts into deliveries: one statement for all that came at once, one for each that somebody wants.

    What is due by that begins at once and is not waited for.
    """

    async def sift(items: Sequence[OutboxItem]) -> Collection[str]:
        return await queue.asked_for([happening(read_fact(item)) for item in items])

    async def deliver(item: OutboxItem) -> None:
        queues = await queue.fan_out(happening(read_fact(item)), now=now(), most=MOST_PENDING)
        await wake(system, queues)

    return Consumer("webhooks", frozenset(EVENTS), deliver, sift)


async def wake(system: ActorSystem, queues: Iterable[str]) -> None:
    """Have what is due in these queues delivered. Those that cannot be woken now are woken by the sweeper."""
    with trio.move_on_after(PATIENCE):
        for queue in queues:
            with suppress(RuntimeFault, Refusal):
                (await system.ensure(webhook_address(queue))).tell(Wake())
