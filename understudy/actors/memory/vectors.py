"""Where vectors come from: an embedder, asked as seldom as can be, and never waited for longer than it is worth."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import structlog
import trio

from understudy.actors.clock import utc_now
from understudy.actors.errors import DomainError
from understudy.actors.lru import Lru
from understudy.actors.memory import embedder as hashing
from understudy.storage.errors import StoreUnavailable
from understudy.storage.remembered import Vector

REMEMBERED = 2048
"""Vectors that are kept at hand; what a table has besides is read from there."""
PATIENCE = 2.0
"""Seconds that a search or a write waits for an embedder; then it goes on without."""
PAUSE = 15.0
"""Seconds that an embedder which failed is left alone: else each turn would wait for it."""

log = structlog.get_logger("understudy.memory")


class Embedder(Protocol):
    """Makes vectors of `embedder.DIMENSIONS` numbers and of length one, under a name that stands beside each."""

    @property
    def name(self) -> str:
        """Which embedder it is; vectors of others are not comparable."""
        ...

    @property
    def least(self) -> float:
        """The cosine below which likeness is chance."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """The vector of each text. Raises a `DomainError` when it cannot be had."""
        ...


class Kept(Protocol):
    """Vectors that were paid for; see `storage.memory_index`."""

    async def kept(self, embedder: str, digests: Sequence[bytes], *, now: datetime) -> Mapping[bytes, Vector]:
        """Those that there are."""
        ...

    async def keep(self, embedder: str, vectors: Mapping[bytes, Vector], *, now: datetime) -> None:
        """Keep these."""
        ...


class HashingEmbedder:
    """The built-in one: no model, no network, nothing that can fail."""

    name = hashing.NAME
    least = hashing.LEAST_LIKENESS

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """See `Embedder.embed`."""
        vectors = []
        for text in texts:
            await trio.lowlevel.checkpoint()  # between any two: a long text takes milliseconds
            vectors.append(hashing.embed(text))
        return vectors


class _Paused(Exception):
    """The embedder failed a moment ago and is left alone."""


class Vectors:
    """Vectors of texts, made by *embedder* unless they are known. *kept* is a table of them, for one that costs."""

    def __init__(
        self, embedder: Embedder | None = None, kept: Kept | None = None, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._embedder = embedder if embedder is not None else HashingEmbedder()
        self._kept = kept
        self._now = now
        self._known: Lru[bytes, Vector] = Lru(REMEMBERED)
        self._paused_until = -math.inf
        self.failure: str | None = None
        """What the embedder said when it failed last; None since it succeeded."""

    @property
    def name(self) -> str:
        """Of the embedder."""
        return self._embedder.name

    @property
    def least(self) -> float:
        """The cosine below which likeness is chance."""
        return self._embedder.least

    def __str__(self) -> str:
        """What likeness stands on, in words."""
        if self.failure is not None:
            return f"no vectors at the moment, words alone ({self.name} failed: {self.failure})"
        return f"vectors of {self.name}"

    async def of(self, *texts: str, patience: float = PATIENCE) -> list[Vector] | None:
        """The vector of each text; None when the embedder fails or takes longer than *patience* seconds."""
        digests = [hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in texts]
        found = {digest: vector for digest in digests if (vector := self._known.get(digest)) is not None}
        try:
            with trio.fail_after(patience):
                await self._fetch(found, dict(zip(digests, texts, strict=True)))
        except trio.TooSlowError:
            self._failed(f"no answer within {patience:g} seconds")
            return None
        except _Paused:
            return None
        except DomainError as error:
            self._failed(error.message)
            return None
        return [found[digest] for digest in digests]

    async def _fetch(self, found: dict[bytes, Vector], texts: dict[bytes, str]) -> None:
        if self._kept is not None and (missing := [digest for digest in texts if digest not in found]):
            try:
                kept = await self._kept.kept(self.name, missing, now=self._now())
            except StoreUnavailable as error:  # then the embedder is asked
                log.warning("kept vectors cannot be read", error=str(error))
            else:
                found.update(kept)
                for digest, vector in kept.items():
                    self._known.put(digest, vector)
        missing = [digest for digest in texts if digest not in found]
        if not missing:
            return
        if trio.current_time() < self._paused_until:
            raise _Paused
        made = dict(zip(missing, await self._embedder.embed([texts[digest] for digest in missing]), strict=True))
        self.failure = None
        found.update(made)
        for digest, vector in made.items():
            self._known.put(digest, vector)
        if self._kept is not None:
            try:
                await self._kept.keep(self.name, made, now=self._now())
            except StoreUnavailable as error:  # they are paid for again some day
                log.warning("vectors cannot be kept", error=str(error))

    def _failed(self, said: str) -> None:
        self.failure, self._paused_until = said, trio.current_time() + PAUSE
        log.warning("searching by words alone", embedder=self.name, error=said)
