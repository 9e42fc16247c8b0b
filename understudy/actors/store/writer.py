"""The journal, as actors see it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from understudy.actors.store.messages import JOURNAL, Write, WriteGroups
from understudy.runtime import ActorCrashed, ActorSystem, Ask, AskTimeout, MailboxFull, NotRunning
from understudy.storage.entries import Entry
from understudy.storage.errors import StorageError, StoreUnavailable

R = TypeVar("R")

_PAUSE = 0.02


class JournalWriter:
    """Writes groups of entries through the journal actor, whichever incarnation of it is alive.

    Entries are idempotent: a write whose answer was lost, because the journal or the database was killed in the middle
    of it, is simply asked for again, within *timeout* seconds in all.
    """

    def __init__(self, system: ActorSystem, *, timeout: float = 5.0) -> None:
        self._system = system
        self._timeout = timeout

    async def write(self, *entries: Entry) -> None:
        """Commit *entries* as one group; returns after the commit. Cancelled means: perhaps written.

        Raises:
            StoreUnavailable: not committed within the bound, as far as is known; may be written again.
            Fenced: a newer incarnation owns a session of theirs.
            StoreConflict: the idempotency key is taken.
            Unstorable: a value breaks a rule of the schema.
        """
        outcome = await self._ask(Write(entries), lambda outcome: outcome)
        if outcome is not None:
            raise outcome

    async def write_groups(self, groups: Sequence[tuple[Entry, ...]]) -> Sequence[StorageError | None]:
        """Commit each of *groups*, whole or not at all; what became of each, in order: None when it is committed.

        Cancelled means: perhaps written. Raises `StoreUnavailable` as `write` does, of them all.
        """
        return await self._ask(
            WriteGroups(groups),
            lambda outcomes: next((one for one in outcomes if isinstance(one, StoreUnavailable)), None),
        )

    async def _ask(self, message: Ask[R], failure: Callable[[R], object]) -> R:
        """Ask the journal until its answer is no *failure* of the database's."""
        deadline = trio.current_time() + self._timeout
        while True:
            try:
                answer = await self._system.ask(JOURNAL, message, timeout=max(0.0, deadline - trio.current_time()))
            except AskTimeout as error:
                raise StoreUnavailable("the journal did not answer in time") from error
            except (ActorCrashed, NotRunning, MailboxFull) as error:
                if trio.current_time() + _PAUSE >= deadline:
                    raise StoreUnavailable(f"the journal is away: {error}") from error
            else:
                away = failure(answer)
                if not isinstance(away, StoreUnavailable):
                    return answer
                if trio.current_time() + _PAUSE >= deadline:
                    # A new one: the journal answers everybody of a batch with the same.
                    raise StoreUnavailable(str(away), retry_after=away.retry_after)
            await trio.sleep(_PAUSE)
