"""What nodes say to each other about sessions, through the database.

Calls are hints: one that is lost is repeated, or what it would have told is found out later.
"""

import logging

import msgspec

from understudy.actors.nodes.ports import NodeStore
from understudy.actors.session.messages import Lost, ReadElsewhere, StopHere, StopWay, session_address
from understudy.runtime import ActorSystem, MailboxFull

log = logging.getLogger(__name__)


class _Call(msgspec.Struct, omit_defaults=True):
    lost: str | None = None
    """A session that ``node`` has lost to another, under this ``epoch``. Said by the function ``session_claim``."""
    node: str | None = None
    epoch: int = 0
    stop: str | None = None
    """A session whose turn ``turn`` is to be stopped in this ``way``, wherever it runs."""
    read: str | None = None
    """A session whose turn ``turn`` somebody reads at the node that says so."""
    turn: str = ""
    way: StopWay = StopWay.CANCEL


class NodeCalls:
    """Calls to whichever node it concerns. See `session.ports.Calls`."""

    def __init__(self, store: NodeStore) -> None:
        self._store = store

    async def stop(self, session_id: str, turn_id: str, way: StopWay) -> None:
        """Ask whoever runs a turn of the session to stop it. Raises `StoreUnavailable`."""
        await self._store.call(msgspec.json.encode(_Call(stop=session_id, turn=turn_id, way=way)).decode())

    async def read(self, session_id: str, turn_id: str) -> None:
        """Tell whoever runs the turn that somebody reads it here. Raises `StoreUnavailable`."""
        await self._store.call(msgspec.json.encode(_Call(read=session_id, turn=turn_id)).decode())


def pass_on(system: ActorSystem, node: str, said: str) -> None:
    """Tell the session that is concerned, if it lives here. What cannot be understood is of a newer version."""
    try:
        call = msgspec.json.decode(said, type=_Call)
    except msgspec.DecodeError:
        log.warning("another node said what is not understood here: %s", said[:200])
        return
    message: Lost | StopHere | ReadElsewhere
    if call.lost is not None and call.node == node:
        session_id, message = call.lost, Lost(call.epoch)
    elif call.stop is not None:
        session_id, message = call.stop, StopHere(call.turn, call.way)
    elif call.read is not None:
        session_id, message = call.read, ReadElsewhere(call.turn)
    else:
        return
    if (session := system.whereis(session_address(session_id))) is not None:
        try:
            session.tell(message)
        except MailboxFull:
            log.warning("session %s has no room for a call", session_id)
