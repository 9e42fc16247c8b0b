"""What idempotency needs of the storage. Every method may raise `StoreUnavailable`."""

from datetime import datetime, timedelta
from typing import Protocol

from understudy.storage.records import Headers, IdempotencyKey, KeyClaim, StoredAnswer


class Keys(Protocol):
    """The keys that were used of late."""

    async def begin(
        self,
        key: IdempotencyKey,
        *,
        now: datetime,
        ttl: timedelta = ...,
        claimant: str | None = ...,
        lease: timedelta | None = ...,
    ) -> StoredAnswer | KeyClaim:
        """Claim the key if it is free, else what is stored; `StoreConflict` when its body was another."""
        ...

    async def complete(self, key: IdempotencyKey, *, status_code: int, body: bytes, headers: Headers = ...) -> None:
        """Store the answer of a claimed key."""
        ...

    async def release(self, key: IdempotencyKey, *, claimant: str | None = ..., doubtful: bool = ...) -> None:
        """Give back a key that was claimed and not completed; when it is doubtful what was done, it keeps its seed."""
        ...
