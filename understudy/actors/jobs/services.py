"""What those who do jobs are given."""

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import attrs

from understudy.actors.clock import utc_now
from understudy.actors.jobs.kinds import JobKind
from understudy.actors.jobs.ports import JobClaims
from understudy.storage.records import new_id

LEASE = 30.0
"""Seconds after which a job returns to the queue when its worker has not been heard of."""

CONCURRENCY = 4
"""Jobs that one node does at a time."""

PER_WORKSPACE = 2
"""Jobs of one workspace that are done at a time, on all nodes together."""


@attrs.frozen
class JobServices:
    """Handed to the dispatcher and to each job's actor.

    ``worker`` is the name under which this node claims: its own, and new with each start of the process.
    """

    claims: JobClaims
    kinds: Mapping[str, JobKind]
    lease: timedelta = timedelta(seconds=LEASE)
    now: Callable[[], datetime] = utc_now
    rng: random.Random = attrs.field(factory=random.Random)
    worker: str = attrs.field(factory=lambda: new_id("wrk"))
