"""The part of the tree that heartbeats live in."""

from understudy.actors.heartbeats.actor import HeartbeatActor
from understudy.actors.heartbeats.directory import Directory
from understudy.actors.heartbeats.messages import HEARTBEATS
from understudy.actors.heartbeats.services import HeartbeatServices
from understudy.runtime import ChildSpec, DynamicSpec, Restart, SupervisorSpec

QUARANTINE = 60.0
"""Seconds for which a heartbeat that keeps crashing is left alone; nobody else notices."""

MOST_AWAKE = 10_000


def heartbeats_spec(services: HeartbeatServices) -> SupervisorSpec:
    """The supervisor of all heartbeats: those that are awake first, then the directory that wakes them."""

    def heartbeat(heartbeat_id: str) -> ChildSpec:
        return ChildSpec(
            heartbeat_id,
            HeartbeatActor,
            args=(heartbeat_id, services),
            restart=Restart.TRANSIENT,
            shutdown=services.drain,
        )

    parent, _, directory = HEARTBEATS.partition("/")
    return SupervisorSpec(
        parent,
        children=(
            DynamicSpec("awake", kind="heartbeat", child=heartbeat, max_children=MOST_AWAKE, quarantine=QUARANTINE),
            ChildSpec(directory, Directory, args=(services,)),
        ),
    )
