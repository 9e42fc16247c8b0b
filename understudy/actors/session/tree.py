"""The part of the tree that sessions live in."""

from understudy.actors.nodes.actor import node_spec
from understudy.actors.nodes.ports import Membership
from understudy.actors.session.directory import Directory
from understudy.actors.session.flusher import FlusherActor
from understudy.actors.session.messages import DIRECTORY
from understudy.actors.session.recovery import Recovery
from understudy.actors.session.services import SessionServices
from understudy.actors.session.session import SessionActor
from understudy.runtime import ChildSpec, DynamicSpec, SupervisorSpec

QUARANTINE = 10.0
"""Seconds for which a session that keeps crashing is left alone; nobody else notices."""

RECOVERY_TIMEOUT = 300.0
"""Seconds within which all turns that a crash left behind must be ended."""


def sessions_spec(
    services: SessionServices,
    *,
    membership: Membership | None = None,
    idle_after: float = 300.0,
    max_sessions: int = 100_000,
    partitions: int = 16,
) -> SupervisorSpec:
    """The supervisor: the lease of this node, what commits the words, the directory, the live sessions, recovery.

    *idle_after* is how long (seconds) a session stays in memory with nothing to do. Without *membership* there are no
    other nodes: whatever they might have left is ended at the start alone.
    """

    def session(session_id: str) -> ChildSpec:
        return ChildSpec(session_id, SessionActor, args=(session_id, services), idle_after=idle_after)

    parent, _, directory = DIRECTORY.partition("/")
    return SupervisorSpec(
        parent,
        children=(
            *((node_spec(membership),) if membership is not None else ()),
            ChildSpec("flusher", FlusherActor, args=(services.flusher,)),
            ChildSpec(directory, Directory, args=(services.store, services.now)),
            DynamicSpec(
                "live",
                kind="session",
                child=session,
                max_children=max_sessions,
                partitions=partitions,
                quarantine=QUARANTINE,
            ),
            ChildSpec(
                "recovery",
                Recovery,
                args=(services, membership.lease / 3 if membership is not None else None),
                start_timeout=RECOVERY_TIMEOUT,
            ),
        ),
    )
