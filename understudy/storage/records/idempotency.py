"""Requests that count once however often they come."""

from datetime import datetime, timedelta

import attrs

from understudy.storage.records.values import Headers


@attrs.frozen
class IdempotencyKey:
    """A caller's promise that requests with this key are one request.

    ``scope`` is the caller and the route (uid, workspace, method, path); ``request_hash`` the SHA-256 of the body.
    ``lasts`` is how long it counts from its first use, when it begins a turn; while the turn runs, it always does.
    """

    scope: str
    key: str
    request_hash: bytes
    lasts: timedelta = attrs.field(default=timedelta(hours=24), eq=False)


@attrs.frozen
class KeyClaim:
    """An idempotency key is the caller's to work for. ``seed`` is the same for all attempts with the key."""

    seed: str


@attrs.frozen
class StoredAnswer:
    """What an idempotency key answers with: a turn (chat) or a stored response, or nothing yet (still running)."""

    key: IdempotencyKey
    created_at: datetime
    turn_id: str | None = None
    status_code: int | None = None
    body: bytes | None = None
    headers: Headers = ()
