"""The actor that delivers one queue: what is due is taken, tried, and settled."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar

import attrs
import structlog
import trio

from understudy.actors.clock import utc_now
from understudy.actors.facts import fact
from understudy.actors.metrics.messages import METRICS, DeliveryTried
from understudy.actors.webhooks.events import answer_body
from understudy.actors.webhooks.messages import Wake
from understudy.actors.webhooks.ports import DeliveryQueue, Posted, Poster
from understudy.actors.webhooks.schedule import RetrySchedule
from understudy.actors.webhooks.signing import signed_headers
from understudy.runtime import Actor, Exit, Timer, receive
from understudy.storage.deliveries import Attempted, Claimed, Disable, DisabledReason, Webhook
from understudy.storage.entries import Published
from understudy.storage.errors import StoreUnavailable
from understudy.storage.records import AuditEntry, new_id

log = structlog.get_logger("understudy.webhooks")

AT_ONCE = 5
"""Tries of one webhook that may be under way on this node."""

MOST_FAILURES = 50
"""Failed tries in a row after which a webhook is disabled."""

LEASE = timedelta(seconds=6)
"""How long what was taken is nobody else's. It is renewed while a try is under way, so that it need not cover one: what
a dead node had taken is tried again this soon."""

RENEW = 2.0
"""Seconds between two renewals."""

NEAR = 60.0
"""Seconds for which the actor waits for the next try; for a later one it is woken."""

FAREWELL = 3.0
"""Seconds that tries under way are given when the actor is to stop; then their deliveries are put back."""

USER_AGENT = "understudy-webhooks/1"


@attrs.frozen
class Delivering:
    """What every delivering actor is given: its queue, the network, the wall clock, and when to try again."""

    queue: DeliveryQueue
    poster: Poster
    now: Callable[[], datetime] = utc_now
    schedule: RetrySchedule = attrs.field(factory=RetrySchedule)


class WebhookActor(Actor):
    """Delivers at least once, in no order, `AT_ONCE` side by side; its queue is in the database, and only there.

    Whatever ends it, what it had taken is due again when the lease ends. A result that comes after that is void: the
    database knows by the claim whose delivery it is. It leaves when nothing is due soon.
    """

    kind: ClassVar[str | None] = "webhook"

    def __init__(self, queue: str, services: Delivering) -> None:
        self._name = queue
        self._queue = services.queue
        self._poster = services.poster
        self._now = services.now
        self._schedule = services.schedule
        self._flying: dict[str, int] = {}
        self._ended: list[Attempted] = []
        self._nudged = trio.Event()
        self._pumping = self._closing = False
        self._rested = trio.Event()
        self._timer: Timer | None = None
        self._delivered = self._failed = 0

    async def started(self) -> None:
        """Begin at once with what is due."""
        self.labels = {"queue": self._name}
        self.wake(Wake())

    @receive
    def wake(self, message: Wake) -> None:
        """Look for what is due."""
        del message
        self._nudged.set()
        if not self._pumping and not self._closing:
            self._pumping, self._rested = True, trio.Event()
            self.work(self._pump, name="deliver")

    async def stopping(self, reason: Exit) -> None:
        """Let tries under way end, for a moment; put the others back so that they are due at once."""
        del reason
        self._closing = True
        self._nudged.set()
        if self._pumping:
            with trio.move_on_after(FAREWELL):
                await self._rested.wait()
        flying = dict(self._flying)
        await self.cancel_work()
        try:
            if self._ended:
                await self._settle()
            if flying:
                await self._queue.renew(flying, self._now())
        except StoreUnavailable:
            return  # the lease ends by itself

    def snapshot(self) -> Mapping[str, object]:
        """What is under way, and what became of the tries of this incarnation."""
        return {"under_way": len(self._flying), "delivered": self._delivered, "failed": self._failed}

    async def _pump(self) -> None:
        """Deliver until nothing is due, then set a timer if something soon will be."""
        try:
            async with trio.open_nursery() as nursery:
                await self._deliver(nursery)
        finally:
            self._pumping = False
            self._rested.set()
        if self._nudged.is_set():  # somebody came between the last look and here
            self.wake(Wake())

    async def _deliver(self, nursery: trio.Nursery) -> None:
        renew_at = trio.current_time() + RENEW
        while not self._closing or self._flying or self._ended:
            self._nudged = trio.Event()
            pause = RENEW
            try:
                if trio.current_time() >= renew_at:
                    # First: after an outage of the database we would else take what we are trying ourselves.
                    await self._renew()
                    renew_at = trio.current_time() + RENEW
                if self._ended:
                    await self._settle()
                if not self._closing:
                    await self._take(nursery)
                if not self._flying and not self._ended and await self._is_quiet():
                    return
            except StoreUnavailable as error:
                pause = error.retry_after
            with trio.move_on_after(pause):
                await self._nudged.wait()

    async def _is_quiet(self) -> bool:
        """Whether nothing is due now. The next that will be is waited for if it is near."""
        due = await self._queue.next_due(self._name)
        wait = (due - self._now()).total_seconds() if due is not None else None
        if wait is not None and wait <= 0:
            self._nudged.set()
            return False
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.after(wait, Wake()) if wait is not None and wait <= NEAR else None
        return True

    async def _take(self, nursery: trio.Nursery) -> None:
        free = AT_ONCE - len(self._flying)
        if free > 0:
            now = self._now()
            for taken in await self._queue.claim(self._name, free, now=now, until=now + LEASE):
                self._flying[taken.id] = taken.claim
                nursery.start_soon(self._try, taken)

    async def _renew(self) -> None:
        """Keep what is under way; where that fails, somebody else may try it too: at least once is what is promised."""
        if self._flying:
            await self._queue.renew(self._flying, self._now() + LEASE)

    async def _try(self, taken: Claimed) -> None:
        body = (taken.body if taken.turn is None else answer_body(taken.turn)) or ""
        posted = await self._poster.post(taken.url, headers_of(taken, body.encode(), self._now()), body.encode())
        self._flying.pop(taken.id, None)
        self._ended.append(self._judged(taken, posted))
        self._nudged.set()

    def _judged(self, taken: Claimed, posted: Posted) -> Attempted:
        wait = None
        if posted.ok:
            self._delivered += 1
        else:
            self._failed += 1
            if not posted.gone:
                wait = self._schedule.after(taken.step + 1, self.system.rng, callback=taken.turn is not None)
        outcome = "delivered" if posted.ok else "given_up" if wait is None else "retried"
        self.system.tell(METRICS, DeliveryTried(outcome, posted.duration_ms / 1000))
        return Attempted(
            taken.id,
            taken.claim,
            posted.ok,
            posted.status,
            posted.duration_ms,
            posted.error,
            self._now() + timedelta(seconds=wait) if wait is not None else None,
            gone=posted.gone and taken.turn is None,
        )

    async def _settle(self) -> None:
        """Note all that has ended, in one transaction: under load many tries share one."""
        ended, self._ended = self._ended, []
        disable = told_and_noted(self._now())
        try:
            disabled = await self._queue.settle(self._name, ended, most_failures=MOST_FAILURES, disable=disable)
        except BaseException:  # cancelled too: what is not known to be noted is noted once more
            self._ended[:0] = ended
            raise
        if disabled is not None:
            log.warning("webhook disabled", webhook=disabled.id, uid=disabled.uid, reason=disabled.disabled_reason)


def headers_of(taken: Claimed, body: bytes, at: datetime) -> dict[str, str]:
    """What is sent with *body*: what it is, whose, and the proof of both."""
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "x-astra-event": taken.event,
        "x-astra-delivery": taken.id,
        **signed_headers(taken.secrets, taken.event_id, body, at),
    }


def told_and_noted(at: datetime) -> Disable:
    """The fact and the line of the audit log for a webhook that is disabled: the same however often it is called."""
    event_id, line_id = new_id("evt"), new_id("aud")

    def disable(webhook: Webhook, reason: DisabledReason) -> tuple[Published, AuditEntry]:
        about = {
            "webhookId": webhook.id,
            "url": webhook.url.partition("?")[0],
            "reason": reason.value,
            "failures": webhook.failures,
        }
        told = fact(
            "webhook.disabled", uid=webhook.uid, workspace_id=webhook.workspace_id, data=about, at=at, id=event_id
        )
        line = AuditEntry(
            line_id,
            "webhook.disabled",
            "warning",
            at,
            uid=webhook.uid,
            workspace_id=webhook.workspace_id,
            metadata=about,
        )
        return told, line

    return disable
