"""The supervisor of the configured servers' actors."""

import random
from collections.abc import Iterable

import attrs

from understudy.actors.mcp.actor import McpServer, Pace
from understudy.actors.mcp.library import RemoteTools
from understudy.actors.mcp.messages import SUPERVISOR
from understudy.actors.mcp.ports import Connect
from understudy.runtime import ChildSpec, SupervisorSpec


@attrs.frozen
class McpServerPlan:
    """A server that is to be kept connected: how, and how many seconds a call of its tools may take."""

    name: str
    transport: str
    connect: Connect
    timeout: float


def mcp_spec(
    servers: Iterable[McpServerPlan],
    library: RemoteTools,
    *,
    pace: Pace | None = None,
    rng: random.Random | None = None,
) -> SupervisorSpec:
    """One child for each server, at ``mcp/<name>``. *library* knows the same servers.

    A lost connection is no crash; what is left are faults of ours, and with the supervisor's backoff the budget is such
    that not even one without end takes the node along.
    """
    pace, rng = pace or Pace(), rng or random.Random()  # noqa: S311  jitter, not a secret
    return SupervisorSpec(
        SUPERVISOR,
        max_restarts=30,
        window=60.0,
        children=tuple(
            ChildSpec(
                server.name,
                McpServer,
                args=(server.name, server.transport, server.connect, library, server.timeout, pace, rng),
            )
            for server in servers
        ),
    )
