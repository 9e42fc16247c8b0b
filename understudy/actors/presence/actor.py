"""The actor that knows what every live agent does."""

from collections.abc import Mapping
from typing import ClassVar

from understudy.actors.presence.messages import (
    PRESENCE,
    AnnouncePresence,
    ListPresence,
    Presence,
    PresenceChanged,
    PresenceGone,
)
from understudy.actors.session.messages import session_address
from understudy.runtime import Actor, ChildSpec, Down, Monitor, Overflow, receive

SESSION_KIND = "session"


class PresenceBoard(Actor):
    """What is known is only what live sessions said: after a crash they are all asked to say it again."""

    kind: ClassVar[str | None] = "presence"
    # A burst of changes must never hold up or fail a session: the oldest is the one that matters least.
    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST
    mailbox_limit: ClassVar[int] = 20_000

    def __init__(self) -> None:
        self._present: dict[str, Presence] = {}
        self._of_user: dict[tuple[str, str], set[str]] = {}
        self._monitors: dict[str, Monitor] = {}

    async def started(self) -> None:
        """Ask every live session to announce itself."""
        for address in self.system.addresses(SESSION_KIND):
            self.system.tell(address, AnnouncePresence())

    @receive
    def changed(self, message: PresenceChanged) -> None:
        """Remember what the session's agent does, until it says otherwise or leaves."""
        presence = message.presence
        session_id = presence.session_id
        self._present[session_id] = presence
        self._of_user.setdefault((presence.uid, presence.workspace_id), set()).add(session_id)
        if session_id not in self._monitors:
            self._monitors[session_id] = self.monitor(session_address(session_id))

    @receive
    def gone(self, message: PresenceGone) -> None:
        """Forget the session."""
        self._forget(message.session_id)

    @receive
    def down(self, message: Down) -> None:
        """A session ended without a word."""
        self._forget(message.address.partition("/")[2])

    @receive
    def list_presence(self, message: ListPresence) -> tuple[Presence, ...]:
        """The user's agents in the workspace, newest change first."""
        mine = (self._present[session_id] for session_id in self._of_user.get((message.uid, message.workspace_id), ()))
        return tuple(sorted(mine, key=lambda presence: presence.since, reverse=True))

    def snapshot(self) -> Mapping[str, object]:
        """How many sessions do what."""
        states: dict[str, int] = {}
        for presence in self._present.values():
            states[presence.state] = states.get(presence.state, 0) + 1
        return {"sessions": len(self._present), "states": states}

    def _forget(self, session_id: str) -> None:
        presence = self._present.pop(session_id, None)
        if presence is not None:
            owner = (presence.uid, presence.workspace_id)
            self._of_user[owner].discard(session_id)
            if not self._of_user[owner]:
                del self._of_user[owner]
        monitor = self._monitors.pop(session_id, None)
        if monitor is not None:
            monitor.cancel()


def presence_spec() -> ChildSpec:
    """The child at `PRESENCE`."""
    return ChildSpec(PRESENCE, PresenceBoard)
