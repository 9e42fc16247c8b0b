"""The journal, as actors see it."""

import trio

from understudy.actors.store.messages import JOURNAL, Write
from understudy.runtime import ActorCrashed, ActorSystem, AskTimeout, MailboxFull, NotRunning
from understudy.storage.entries import Entry
from understudy.storage.errors import StoreUnavailable

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
        message = Write(entries)
        deadline = trio.current_time() + self._timeout
        while True:
            try:
                outcome = await self._system.ask(JOURNAL, message, timeout=max(0.0, deadline - trio.current_time()))
            except AskTimeout as error:
                raise StoreUnavailable("the journal did not answer in time") from error
            except (ActorCrashed, NotRunning, MailboxFull) as error:
                if trio.current_time() + _PAUSE >= deadline:
                    raise StoreUnavailable(f"the journal is away: {error}") from error
            else:
                if outcome is None:
                    return
                if not isinstance(outcome, StoreUnavailable):
                    raise outcome
                if trio.current_time() + _PAUSE >= deadline:
                    # A new one: the journal answers everybody of a batch with the same.
                    raise StoreUnavailable(str(outcome), retry_after=outcome.retry_after)
            await trio.sleep(_PAUSE)
