"""The embedded server's keeper."""

from collections.abc import Mapping
from typing import ClassVar

from understudy.runtime import Actor, Exit, Raised, Returned, WorkDone, receive
from understudy.storage.embedded import EmbeddedPostgres
from understudy.storage.errors import EmbeddedError


class PostgresActor(Actor):
    """Starts the server, crashes when it ends (so that its supervisor starts it again), stops it when told to stop.

    The server belongs to no incarnation: when this actor is killed the server goes on, and the next one finds it.
    """

    kind: ClassVar[str | None] = "postgres"

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server

    async def started(self) -> None:
        """Bring the server up, or find it up. Raises `EmbeddedError` when it cannot be started."""
        self.status = "starting"
        await self._server.start()
        self.status = "up"
        self.labels = {"pid": str(self._server.pid or "")}
        self.work(self._server.wait_exited, name="server")

    @receive
    def exited(self, message: WorkDone) -> None:
        """The server's process is gone and nobody told it to go."""
        match message.outcome:
            case Returned(status):
                raise EmbeddedError(f"the embedded PostgreSQL ended by itself (status {status})")
            case Raised(error):
                raise error
            case _:
                pass

    async def stopping(self, reason: Exit) -> None:
        """Shut the server down."""
        del reason
        self.status = "stopping"
        await self.cancel_work()
        await self._server.stop()

    def snapshot(self) -> Mapping[str, object]:
        """Where the server is."""
        return {"running": self._server.running, "pid": self._server.pid, "data": str(self._server.pgdata)}
