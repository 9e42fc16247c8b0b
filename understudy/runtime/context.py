"""What travels with a message besides the message: who asked, until when, on whose behalf."""

from __future__ import annotations

import contextvars
import math
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

if TYPE_CHECKING:
    from understudy.runtime.reply import Slot


@attrs.frozen
class Origin:
    """On whose behalf: copied by reference from message to message, into work and out of it again."""

    request_id: str | None = None
    trace: str | None = None
    tenant: str | None = None
    seed: str | None = None
    """What the request draws its chance from, so that when it is sent again it draws the same; None: real chance."""


class Parcel(Protocol):
    """What may ride in an envelope's last place: a reply slot, a timer's ticket, an expiry."""

    def begin(self) -> bool:
        """Tell it that its message is about to be handled; False means: do not."""


# Envelope: message, sender's address, origin, parcel, time queued. A bare tuple, because one is made per message and a
# class instance costs four times as much.
Envelope: TypeAlias = "tuple[object, str | None, Origin | None, Slot | Parcel | None, float]"


class Place(Protocol):
    """Where code runs: inside an actor's handler, inside its work, or outside under `ActorSystem.context`."""

    @property
    def address(self) -> str | None:
        """The address that messages sent from here carry as their sender."""

    @property
    def envelope(self) -> Envelope | None:
        """The envelope being served here."""


HERE: contextvars.ContextVar[Place | None] = contextvars.ContextVar("understudy_here", default=None)


class Bound:
    """Stands where a reply slot would: a deadline and a call chain, without anybody waiting."""

    __slots__ = ("chain", "deadline")

    def __init__(self, deadline: float, chain: tuple[str, ...] = ()) -> None:
        self.deadline = deadline
        self.chain = chain

    def begin(self) -> bool:
        """Never queued, so never refused."""
        return True


class Outside:
    """The place made by `ActorSystem.context` for code that is no actor."""

    __slots__ = ("address", "envelope")

    def __init__(self, origin: Origin, deadline: float) -> None:
        self.address: str | None = None
        self.envelope: Envelope | None = (None, None, origin, Bound(deadline), 0.0)


@attrs.frozen
class Context:
    """What the running code was called with. Times are trio's clock, in seconds."""

    request_id: str | None
    trace: str | None
    tenant: str | None
    seed: str | None
    sender: str | None
    deadline: float
    chain: tuple[str, ...]


def limits_here() -> tuple[float, tuple[str, ...]]:
    """Return the deadline and call chain that bind an ask made from here."""
    here = HERE.get()
    if here is None or here.envelope is None:
        return math.inf, ()
    parcel = here.envelope[3]
    return getattr(parcel, "deadline", math.inf), getattr(parcel, "chain", ())


def current_context() -> Context:
    """Return what the running code was called with; all ``None`` and no deadline outside of any actor."""
    here = HERE.get()
    envelope = here.envelope if here is not None else None
    deadline, chain = limits_here()
    sender, origin = (envelope[1], envelope[2]) if envelope is not None else (None, None)
    origin = origin if origin is not None else Origin()
    return Context(origin.request_id, origin.trace, origin.tenant, origin.seed, sender, deadline, chain)
