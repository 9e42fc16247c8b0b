"""Webhooks over a store in memory, a clock that jumps, and a network that answers as the test says."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import attrs
import trio

from tests.support.storage import START
from understudy.actors.facts import fact
from understudy.actors.outbound.guarded import OutboundFailed, OutboundRefused
from understudy.actors.store.outbox import Consumer
from understudy.actors.webhooks.fanout import webhook_consumer
from understudy.actors.webhooks.messages import WEBHOOKS, CreateWebhook, Owner, Webhook
from understudy.actors.webhooks.ports import Posted
from understudy.actors.webhooks.schedule import RetrySchedule
from understudy.actors.webhooks.tree import webhooks_spec
from understudy.actors.webhooks.webhook import Delivering
from understudy.runtime import ActorSystem
from understudy.runtime.testing import open_system
from understudy.storage.memory import MemoryStore
from understudy.storage.records import OutboxItem, User, Workspace, new_id

URL = "https://hooks.example.org/in"
MIRA, HOME = "usr_mira", "ws_home"


@attrs.frozen
class Request:
    """A request that a receiver got, and when (seconds after the start)."""

    at: float
    url: str
    headers: Mapping[str, str]
    body: bytes


@attrs.define
class Network:
    """Answers each request with the next of ``script`` (200 when it is used up); keeps what it was sent."""

    script: list[int | None] = attrs.field(factory=list)
    latency: float = 0.0
    got: list[Request] = attrs.field(factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def approve(self, url: str) -> None:
        """Refuses what looks private, and knows no host of ``.invalid``."""
        if "127.0.0.1" in url or url.startswith("http:"):
            raise OutboundRefused("that is not allowed")
        if ".invalid" in url:
            raise OutboundFailed("cannot resolve it")

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Posted:
        self.got.append(Request(trio.current_time(), url, headers, body))
        status = self.script.pop(0) if self.script else 200
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await trio.sleep(self.latency)
        finally:
            self.at_once -= 1
        error = None if status is not None and status < 300 else f"answered {status}" if status else "no answer"
        return Posted(status, round(self.latency * 1000), error)

    def times(self) -> list[float]:
        """When requests came, to the tenth of a second."""
        return [round(request.at, 1) for request in self.got]


@attrs.define
class Stage:
    """What a test has in its hands."""

    system: ActorSystem
    store: MemoryStore
    network: Network
    consumer: Consumer
    now: Callable[[], datetime]

    async def webhook(self, **more: Any) -> Webhook:
        """A webhook of Mira's for everything."""
        known: dict[str, Any] = {"url": URL, "events": ("*",)} | more
        return await self.system.ask(WEBHOOKS, CreateWebhook(Owner(MIRA, "req-1"), **known))

    async def happen(self, event: str = "agent.completed", times: int = 1, **data: object) -> list[str]:
        """Facts about Mira, told as the outbox does; their ids."""
        ids = []
        for _ in range(times):
            told = fact(event, uid=MIRA, workspace_id=HOME, data=data or {"agentId": "chad"}, at=self.now())
            await self.consumer.deliver(OutboxItem(told.id, event, HOME, told.payload, told.created_at, 1))
            ids.append(told.id)
        return ids

    @asynccontextmanager
    async def another_node(self) -> AsyncIterator[ActorSystem]:
        """A second system over the same store and network."""
        services = Delivering(self.store.deliveries, self.network, self.now, RetrySchedule(jitter=0.0))
        async with open_system("another", leaks=False) as system:
            await system.spawn(webhooks_spec(self.store.webhooks, services))
            yield system

    async def history(self, webhook: Webhook) -> list[Any]:
        """The webhook's deliveries, newest first."""
        return list(await self.store.webhooks.history(webhook.uid, webhook.id, limit=200))


@asynccontextmanager
async def staged(*script: int | None, latency: float = 0.0, jitter: float = 0.0) -> AsyncIterator[Stage]:
    """Everything running. Needs a clock that jumps; wall time follows it."""

    def now() -> datetime:
        return START + timedelta(seconds=trio.current_time())

    store, network = MemoryStore(now), Network(list(script), latency)
    workspace = Workspace(HOME, "Home", MIRA, "personal", START)
    await store.users.create(User(MIRA, f"{new_id('m').lower()}@example.org", "hash", START), workspace)
    services = Delivering(store.deliveries, network, now, RetrySchedule(jitter=jitter))
    with trio.fail_after(10 * 86_400):
        async with open_system(leaks=False) as system:
            await system.spawn(webhooks_spec(store.webhooks, services))
            yield Stage(system, store, network, webhook_consumer(system, store.deliveries, now=now), now)
