"""After a crash of the whole node: no turn may say that it is running."""

import trio

from understudy.actors.serving import Server
from understudy.actors.session.messages import session_address
from understudy.actors.session.ports import SessionStore

AT_ONCE = 32
"""Sessions that are woken side by side."""


class Recovery(Server):
    """Wakes every session in which the database believes a turn to be running; waking ends it as interrupted.

    Starts after the sessions' supervisor and before the listener, so that nobody is served a lie.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._recovered = 0

    async def started(self) -> None:
        """Blocks until all are ended. Raises `StoreUnavailable`; the supervisor then tries again."""
        orphaned = await self._store.sessions_with_running_turns()
        slots = trio.Semaphore(AT_ONCE)
        async with trio.open_nursery() as nursery:
            for session_id in orphaned:
                if self.system.whereis(session_address(session_id)) is None:
                    nursery.start_soon(self._wake, session_id, slots)

    async def _wake(self, session_id: str, slots: trio.Semaphore) -> None:
        async with slots:
            await self.system.ensure(session_address(session_id))
            self._recovered += 1

    def snapshot(self) -> dict[str, object]:
        """How many sessions were found with an orphaned turn at the last start."""
        return {"recovered": self._recovered}
