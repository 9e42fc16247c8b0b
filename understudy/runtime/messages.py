"""The base of requests, and the messages that the kernel itself sends to actors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import attrs

if TYPE_CHECKING:
    from understudy.runtime.exits import Exit
    from understudy.runtime.work import Work

R_co = TypeVar("R_co", covariant=True)


class Ask(Generic[R_co]):
    """Base of messages that want an answer of type ``R``.

    ``@attrs.frozen class Deposit(Ask[int]): amount: int`` makes ``await ref.ask(Deposit(5))`` an ``int`` to the type
    checker. Messages that want no answer need no base: any frozen class will do.
    """

    __slots__ = ()


@attrs.frozen
class Returned:
    """The work finished and this is what it returned."""

    value: object


@attrs.frozen
class Raised:
    """The work ended with this exception."""

    error: Exception


@attrs.frozen
class Stopped:
    """The work was cancelled, and has ended."""


Outcome: TypeAlias = Returned | Raised | Stopped


@attrs.frozen
class WorkDone:
    """A piece of linked work has ended. Sent on the system lane to the actor that started it.

    An actor without a handler for this crashes when the outcome is `Raised` (the work is linked), else ignores it.
    """

    work: Work
    outcome: Outcome


@attrs.frozen
class Down:
    """A monitored actor has ended for good. Sent once per monitor, on the system lane."""

    address: str
    exit: Exit
