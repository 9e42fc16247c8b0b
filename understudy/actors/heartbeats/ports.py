"""What heartbeats need of the storage and of the network, as narrowly as they need it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from understudy.actors.lease import Leases
from understudy.actors.outbound.connection import Origin
from understudy.actors.outbound.guarded import Fetched
from understudy.storage.entries import Published
from understudy.storage.heartbeat_records import Claim, Heartbeat, HeartbeatRun, RunEnd, Woken
from understudy.storage.records import AuditEntry, Json

T = TypeVar("T")


class HeartbeatStore(Protocol):
    """Heartbeats as workspaces see them; each may raise `StoreUnavailable`. See `storage.heartbeats` for the whole."""

    async def create(self, heartbeat: Heartbeat, audit: AuditEntry, *, most: int) -> None:
        """Store a new one. Raises `StoreConflict` when the workspace has *most* of them."""
        ...

    async def list(self, workspace_id: str) -> tuple[tuple[Heartbeat, HeartbeatRun | None], ...]:
        """All of the workspace, each with its newest run that has ended."""
        ...

    async def change(
        self, workspace_id: str, heartbeat_id: str, change: Callable[[Heartbeat], Heartbeat], audit: AuditEntry
    ) -> tuple[Heartbeat, HeartbeatRun | None] | None:
        """Make of it what *change* says; None when the workspace has no such heartbeat."""
        ...

    async def delete(
        self, workspace_id: str, heartbeat_id: str, check: Callable[[Heartbeat], None], audit: AuditEntry
    ) -> bool:
        """Delete it with all that belongs to it, unless *check* raises; whether there was one."""
        ...

    async def runs(
        self, workspace_id: str, heartbeat_id: str, *, limit: int, offset: int
    ) -> tuple[tuple[HeartbeatRun, ...], int] | None:
        """A page of its runs, newest first, and how many there are; None when the workspace has no such heartbeat."""
        ...


class RunStore(Leases, Protocol):
    """Due times and runs; each may raise `StoreUnavailable`. See `storage.heartbeat_runs` for the whole.

    What changes a run answers False when the run belongs to somebody else by now, and changes nothing then.
    """

    async def due(self, before: datetime, *, now: datetime, limit: int) -> tuple[str, ...]:
        """Heartbeats with something to do by *before*, abandoned runs first."""
        ...

    async def load(self, heartbeat_id: str) -> tuple[Heartbeat, HeartbeatRun | None] | None:
        """A heartbeat and its run that has not ended."""
        ...

    async def claim(self, claim: Claim) -> HeartbeatRun | None:
        """Take a due time; None when it is gone."""
        ...

    async def take_over(
        self, run: HeartbeatRun, *, owner: str, now: datetime, lease_until: datetime
    ) -> HeartbeatRun | None:
        """Go on with a run that was left; None when it was not, or is somebody else's by now."""
        ...

    async def prepare(self, run: HeartbeatRun, wake: Json) -> bool:
        """Note what the agent is about to be told."""
        ...

    async def note_session(self, run: HeartbeatRun, session_id: str) -> bool:
        """Note where the agent was woken."""
        ...

    async def finish(
        self, run: HeartbeatRun, end: RunEnd, *, facts: Sequence[Published] = (), audit: AuditEntry | None = None
    ) -> bool:
        """End the run, with all that follows from it, in one transaction."""
        ...

    async def seen(self, heartbeat_id: str) -> Mapping[str, frozenset[bytes]]:
        """The keys that are known of each feed."""
        ...

    async def woken(self, heartbeat: Heartbeat, scope: str, key: str) -> Woken | None:
        """The turn that was begun under this idempotency key, however it ended."""
        ...


class Web(Protocol):
    """The guarded client: `understudy.actors.outbound.guarded.GuardedClient`. Each raises `OutboundError`."""

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 1_048_576,
        timeout: float = 10.0,
        max_redirects: int = 5,
    ) -> Fetched:
        """One request, redirects included."""
        ...

    async def addresses(self, origin: Origin) -> Sequence[str]:
        """Where the origin is, if requests may go there."""
        ...


class Aside(Protocol):
    """Runs what blocks where it keeps nobody waiting, within a bound. Raises `trio.TooSlowError`."""

    def __call__(self, fn: Callable[..., T], *args: object) -> Awaitable[T]:
        """What ``fn(*args)`` returns. Cancelled, *fn* may go on for a while with nobody to hear of it."""
        ...
