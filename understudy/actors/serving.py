"""An actor that answers slow questions without making anybody else wait."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from understudy.actors.errors import Invalid, Unavailable
from understudy.actors.made import asked_seed, draw_from
from understudy.runtime import (
    Actor,
    ActorCrashed,
    Ask,
    AskTimeout,
    Deferred,
    MailboxFull,
    NotRunning,
    Quarantined,
    Refusal,
    TooManyChildren,
)
from understudy.storage.errors import StoreUnavailable, Unstorable

R = TypeVar("R")

_STORAGE_SAYS_NO = (StoreUnavailable, Unstorable, UnicodeEncodeError)

ANOTHER_IS_AWAY = (ActorCrashed, AskTimeout, MailboxFull, NotRunning, Quarantined, TooManyChildren)
"""What becomes of asking another actor, by no fault of who asks."""

NO = (Refusal, *_STORAGE_SAYS_NO, *ANOTHER_IS_AWAY)
"""What `refused` makes an answer of."""

log = logging.getLogger(__name__)


class Server(Actor):
    """An actor whose handlers hand slow work to linked tasks, so that its mailbox stays served."""

    def answer(self, message: Ask[R], fn: Callable[..., Awaitable[R]], *args: Any) -> Deferred[R]:
        """Run ``fn(*args)`` beside the mailbox and reply with what it returns.

        A `Refusal` it raises reaches the asker, and so does storage's no, and that another actor is away which it had
        to ask (see `refused`): one that is slow or crashes takes nobody along. Any other error crashes this actor, as
        it would in a handler. Does not block. If the actor ends first, the work is cancelled and the asker learns it at
        once.
        """
        deferred = self.defer(message)
        purpose = type(message).__name__
        self.work(_serve, deferred, fn, args, asked_seed(), purpose, name=purpose)
        return deferred


async def _serve(
    deferred: Deferred[R], fn: Callable[..., Awaitable[R]], args: tuple[Any, ...], seed: str | None, purpose: str
) -> None:
    draw_from(seed, purpose)
    try:
        value = await fn(*args)
    except NO as error:
        deferred.fail(refused(error))
    else:
        deferred.reply(value)


def refused(error: Exception) -> Refusal:
    """What an asker is told when *error*, one of `NO`, kept an actor from answering.

    Text that cannot be stored is the asker's mistake and must not crash anybody: else whoever sends a NUL three times
    takes the node down.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, StoreUnavailable):
        return Unavailable("the database is away; try again", retry_after=error.retry_after)
    if isinstance(error, _STORAGE_SAYS_NO):
        return Invalid("a value in the request cannot be stored: it holds a NUL or half a character")
    log.warning("refused, since another actor is away: %s", error)
    retry_after = error.retry_after if isinstance(error, MailboxFull | Quarantined) else 1.0
    return Unavailable("a part of the server that this needs is away; try again", retry_after=retry_after)
