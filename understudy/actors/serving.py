"""An actor that answers slow questions without making anybody else wait."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from understudy.actors.errors import Unavailable
from understudy.runtime import Actor, Ask, Deferred, Refusal
from understudy.storage.errors import StoreUnavailable

R = TypeVar("R")


class Server(Actor):
    """An actor whose handlers hand slow work to linked tasks, so that its mailbox stays served."""

    def answer(self, message: Ask[R], fn: Callable[..., Awaitable[R]], *args: Any) -> Deferred[R]:
        """Run ``fn(*args)`` beside the mailbox and reply with what it returns.

        A `Refusal` it raises reaches the asker; any other error crashes this actor, as it would in a handler. Does not
        block. If the actor ends first, the work is cancelled and the asker learns it at once.
        """
        deferred = self.defer(message)
        self.work(_serve, deferred, fn, args, name=type(message).__name__)
        return deferred


async def _serve(deferred: Deferred[R], fn: Callable[..., Awaitable[R]], args: tuple[Any, ...]) -> None:
    try:
        value = await fn(*args)
    except Refusal as refusal:
        deferred.fail(refusal)
    except StoreUnavailable as error:
        deferred.fail(Unavailable("the database is away; try again", retry_after=error.retry_after))
    else:
        deferred.reply(value)
