"""The actor that runs a repeated request once."""

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar

import trio

from understudy.actors.clock import utc_now
from understudy.actors.errors import Conflict
from understudy.actors.idempotency.messages import (
    IDEMPOTENCY,
    KEPT,
    Begin,
    Begun,
    Complete,
    Fresh,
    IdempotencyKey,
    Release,
    Stored,
)
from understudy.actors.idempotency.ports import Keys
from understudy.actors.serving import NO, Server, refused
from understudy.runtime import ChildSpec, Deferred, receive
from understudy.storage.errors import StoreConflict, StoreUnavailable
from understudy.storage.records import KeyClaim

PATIENCE = 25.0
"""Seconds that a repeated request waits for the first one before it is told `Conflict`; ask with a little more."""
LOOK_AGAIN_EVERY = 0.5
"""Seconds between two looks at a key that something else than this incarnation has claimed."""


class Idempotency(Server):
    """The claims are in the database; here is only who waits for which.

    A waiter looks at the database again when a claim ends here, and every half second besides: the claim may be an
    earlier incarnation's, or another node's. What has run out is swept by the housekeeper.
    """

    mailbox_limit: ClassVar[int] = 5_000

    def __init__(
        self,
        keys: Keys,
        now: Callable[[], datetime] = utc_now,
        patience: float = PATIENCE,
        look_again_every: float = LOOK_AGAIN_EVERY,
    ) -> None:
        self._keys = keys
        self._now = now
        self._patience = patience
        self._look_again_every = look_again_every
        self._ended: dict[tuple[str, str], trio.Event] = {}
        self._replayed = self._claimed = 0

    @receive
    def begin(self, message: Begin) -> Deferred[Begun]:
        """Claim the key, or say how it ended."""
        deferred = self.defer(message)
        self.work(self._answer, deferred, message, name="Begin")
        return deferred

    @receive
    def complete(self, message: Complete) -> Deferred[None]:
        """Keep the answer."""
        return self.answer(message, self._complete, message)

    @receive
    def release(self, message: Release) -> Deferred[None]:
        """Give the claim back."""
        return self.answer(message, self._release, message)

    def snapshot(self) -> Mapping[str, object]:
        """How many keys were claimed and replayed, and for how many somebody waits."""
        return {"claimed": self._claimed, "replayed": self._replayed, "waited_for": len(self._ended)}

    async def _answer(self, deferred: Deferred[Begun], message: Begin) -> None:
        try:
            begun = await self._begin(deferred, message)
        except NO as error:
            deferred.fail(refused(error))
        else:
            if not deferred.reply(begun) and begun == Fresh():
                # The asker left while the key was being claimed: nobody would ever complete it.
                with contextlib.suppress(StoreUnavailable):
                    await self._release(Release(message.key, message.claimant))

    async def _begin(self, deferred: Deferred[Begun], message: Begin) -> Begun:
        # Only the waiting is bounded: a claim that was cut off might have been committed, with nobody to complete it.
        give_up = trio.current_time() + self._patience
        while not deferred.expired and trio.current_time() < give_up:
            begun = await self._try(message)
            if begun is not None:
                return begun
            await self._wait(message.key, min(self._look_again_every, give_up - trio.current_time()))
        raise Conflict("the same request is still running; try again later", retry_after=1.0)

    async def _try(self, message: Begin) -> Begun | None:
        try:
            found = await self._keys.begin(
                message.key, now=self._now(), ttl=KEPT, claimant=message.claimant, lease=message.lease
            )
        except StoreConflict as conflict:
            raise Conflict("this idempotency key was used with another request") from conflict
        if isinstance(found, KeyClaim):
            self._claimed += 1
            return Fresh(found.seed)
        if found.status_code is None:
            return None
        self._replayed += 1
        return Stored(found.status_code, found.body or b"", found.headers)

    async def _wait(self, key: IdempotencyKey, seconds: float) -> None:
        """Until the claim ends here, or for so long."""
        name = (key.scope, key.key)
        ended = self._ended.setdefault(name, trio.Event())
        try:
            with trio.move_on_after(max(0.0, seconds)):
                await ended.wait()
        finally:
            if not ended.is_set() and ended.statistics().tasks_waiting == 0 and self._ended.get(name) is ended:
                del self._ended[name]

    async def _complete(self, message: Complete) -> None:
        await self._keys.complete(
            message.key, status_code=message.status_code, body=message.body, headers=message.headers
        )
        self._wake(message.key)

    async def _release(self, message: Release) -> None:
        await self._keys.release(message.key, claimant=message.claimant, doubtful=message.doubtful)
        self._wake(message.key)

    def _wake(self, key: IdempotencyKey) -> None:
        ended = self._ended.pop((key.scope, key.key), None)
        if ended is not None:
            ended.set()


def idempotency_spec(keys: Keys, *, now: Callable[[], datetime] = utc_now) -> ChildSpec:
    """The child at `IDEMPOTENCY`."""
    return ChildSpec(IDEMPOTENCY, Idempotency, args=(keys, now))
