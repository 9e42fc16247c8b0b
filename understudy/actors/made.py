"""Ids of what is made: random, or drawn from the seed of a request that may come twice.

A request with an idempotency key has a seed, the same at each attempt (see `understudy.actors.idempotency`). An actor
that is killed after its commit and before its answer leaves a client who tries again: the second attempt draws the
same ids, meets what the first one made, as storage meets its own first attempt, and answers with that.

The seed counts for what an actor does itself for who asked it from outside, in `Server.answer`; and not for what it
asks of others, nor for what they begin on their own: two notes that an agent takes in one request's turn are two notes.
The desk is outside, too: it runs the one tool that somebody's request names, and nothing besides.
"""

import base64
import hashlib
from collections import Counter
from contextvars import ContextVar

import attrs

from understudy.runtime import current_context
from understudy.storage.records import new_id

OUTSIDE = frozenset({None, "tools/desk"})
"""Senders of what is asked from outside."""

_BYTES = 16


@attrs.define
class _Source:
    seed: str
    purpose: str
    drawn: Counter[str] = attrs.field(factory=Counter)


_SOURCE: ContextVar[_Source | None] = ContextVar("understudy_made", default=None)


def asked_seed() -> str | None:
    """The seed of the request that is being handled, if it was asked from outside and not by another actor."""
    context = current_context()
    return context.seed if context.sender in OUTSIDE else None


def draw_from(seed: str | None, purpose: str) -> None:
    """From here on this task's `made_id` draws from *seed*, for *purpose*; from real chance when it is None."""
    _SOURCE.set(None if seed is None else _Source(seed, purpose))


def is_keyed() -> bool:
    """Whether what is made here may have been made by an earlier attempt."""
    return _SOURCE.get() is not None


def made_id(prefix: str, label: str = "") -> str:
    """*prefix* and 128 bits: random, or of SHA-256 over seed, purpose, prefix, label and how often these were drawn.

    Whoever draws the same in another order needs a *label* that tells the things apart.
    """
    source = _SOURCE.get()
    if source is None:
        return new_id(prefix)
    name = f"{prefix}\0{label}"
    source.drawn[name] += 1
    drawn = f"{source.seed}\0{source.purpose}\0{name}\0{source.drawn[name]}"
    bits = hashlib.sha256(drawn.encode("utf-8", "surrogatepass")).digest()[:_BYTES]
    return f"{prefix}_{base64.urlsafe_b64encode(bits).rstrip(b'=').decode()}"
