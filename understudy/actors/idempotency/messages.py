"""How a POST that may be sent twice runs once. Chat turns have a way of their own.

Ask `Begin`; on `Fresh` do the work, then `Complete` with the answer or `Release` when it may be tried again; on
`Stored` send what is in it. A key counts for 300 s from its first use and outlives the process. What the work makes
draws its ids from the key's seed (see `understudy.actors.made`): what was made by an attempt whose outcome nobody
learnt is met, and not made twice, by the next.
"""

from datetime import timedelta
from typing import TypeAlias

import attrs

from understudy.runtime import Ask
from understudy.storage.records import Headers
from understudy.storage.records import IdempotencyKey as IdempotencyKey
from understudy.storage.records import new_id as new_id

KEPT = timedelta(seconds=300)
"""How long a key of a request counts, from its first use."""

IDEMPOTENCY = "idempotency"
"""The address of the idempotency actor."""


@attrs.frozen
class Fresh:
    """Nobody is known to have done this request, and nobody else will while you do: it is yours."""

    seed: str = attrs.field(default="", eq=False)
    """The same for every attempt with this key, unless nothing was done in the ones before."""


@attrs.frozen
class Stored:
    """The request was done before: this was its answer."""

    status_code: int
    body: bytes
    headers: Headers = ()


Begun: TypeAlias = Fresh | Stored
"""What `Begin` answers with."""


@attrs.frozen
class Begin(Ask[Begun]):
    """Claim the key. Waits while the same request runs on this node, as long as the asker waits.

    Refused with `Conflict` (the key was used with another body; or the same request still runs and does not end within
    the asker's time), `Unavailable`.
    """

    key: IdempotencyKey
    claimant: str = attrs.field(factory=lambda: new_id("clm"))
    """Whose claim it will be: asked again under the same name, it is theirs still."""
    lease: timedelta = KEPT
    """After this time the claim is free to be taken, though it was not released: who had it must have died."""


@attrs.frozen
class Complete(Ask[None]):
    """Keep the answer of the claimed request; who waited for it gets it. Committed when answered.

    Refused with `Unavailable`.
    """

    key: IdempotencyKey
    status_code: int
    body: bytes
    headers: Headers = ()


@attrs.frozen
class Release(Ask[None]):
    """Give the claim back without an answer: the next request with this key runs anew. Refused with `Unavailable`.

    Harmless when it is not the claimant's (None: whoever's) any more.
    """

    key: IdempotencyKey
    claimant: str | None = None
    doubtful: bool = False
    """Whether something may have been done: then the next attempt has the same seed."""
