"""Checks of what waits in the database to be done, and of what should have been."""

from collections.abc import Callable
from datetime import datetime, timedelta

from understudy.actors.diagnostics.check import Check, Finding, failed, passed, warned
from understudy.actors.diagnostics.ports import Counted
from understudy.runtime import ActorSystem

LONG_WAIT, TOO_LONG = 60.0, 900.0
"""Seconds that the first job in the queue may wait before somebody should look, and before it is out of hand."""
A_DAY = timedelta(hours=26)
"""A day in which a clock was set back, and an hour to get round to it."""
FEW = 10
"""So many deliveries say nothing about a rate."""
POOR_RATE, BAD_RATE = 0.2, 0.8

Now = Callable[[], datetime]


def search_in_step(database: Counted) -> Check:
    """What was said is found by the words it has. There is one store, so only the rules for words could drift."""

    async def run(_: ActorSystem) -> Finding:
        drifted = await database.drift()
        if drifted:
            return warned(
                f"{drifted} of up to 1000 messages are indexed by other words than theirs",
                "PostgreSQL's dictionaries have changed: rewrite session_messages (VACUUM FULL does not)",
            )
        return passed("messages are indexed by their own words")

    return Check("search.in_step", run)


def rows_guarded(database: Counted) -> Check:
    """What is read on a tenant's behalf is limited to their rows by PostgreSQL, too, and not by our queries alone."""

    async def run(_: ActorSystem) -> Finding:
        if not await database.guarded():
            hint = "create the role understudy_tenant, grant it to ours, and CALL grant_tenants()"
            return warned("no row-level security: the server's role may not act as understudy_tenant", hint)
        return passed("tenants' statements see their own rows only")

    return Check("database.row_security", run)


def facts_told(database: Counted, now: Now) -> Check:
    """Whoever wants to know of what happened is told of it within a minute."""

    async def run(_: ActorSystem) -> Finding:
        waiting = (await database.backlog(now())).facts_waiting
        if waiting:
            return warned(
                f"{waiting} facts have waited over a minute", "look at `GET /diagnostics/actors/storage/outbox`"
            )
        return passed("no fact has waited for a minute")

    return Check("outbox.facts", run)


def jobs_flow(database: Counted, now: Now) -> Check:
    """Jobs are begun soon after they are due, and none is held by a node that is gone."""

    async def run(_: ActorSystem) -> Finding:
        found = await database.backlog(now())
        told = f"{found.jobs_waiting} jobs wait, the first for {found.oldest_wait:.0f} s; {found.jobs_failed} failed"
        told += " in the last hour"
        hint = "see `GET /diagnostics/actors/jobs`; more may run at a time (job_concurrency)"
        if found.jobs_stuck:
            return failed(f"{found.jobs_stuck} running jobs have lost their lease; {told}", hint)
        if found.oldest_wait > TOO_LONG:
            return failed(told, hint)
        return warned(told, hint) if found.oldest_wait > LONG_WAIT else passed(told)

    return Check("jobs.queue", run)


def schedule_runs(database: Counted, now: Now) -> Check:
    """The built-in schedule goes on: something of it is due every day."""

    async def run(_: ActorSystem) -> Finding:
        last = (await database.backlog(now())).scheduled_at
        if last is None:
            return passed("nothing of the schedule has been due yet")
        told = f"what was due at {last:%Y-%m-%d %H:%M} UTC was seen to last"
        if now() - last > A_DAY:
            return warned(told, "look at `GET /diagnostics/actors/jobs/schedule`")
        return passed(told)

    return Check("jobs.schedule", run)


def agents_taking_turns(database: Counted, now: Now) -> Check:
    """No agent is paused for having failed too often in a row."""

    async def run(_: ActorSystem) -> Finding:
        paused = (await database.backlog(now())).agents_paused
        if paused:
            return warned(f"{paused} agents are paused for failing", "see their last error, and resume them")
        return passed("no agent is paused")

    return Check("agents.paused", run)


def webhooks_arrive(database: Counted, now: Now) -> Check:
    """Most of what is sent to webhooks arrives. It is others' servers that fail: never worse than a warning."""

    async def run(_: ActorSystem) -> Finding:
        found = await database.backlog(now())
        off = f"; {found.webhooks_disabled} webhooks are switched off for failing" if found.webhooks_disabled else ""
        told = f"{found.deliveries_failed} of {found.deliveries} deliveries of the last hour failed{off}"
        rate = found.deliveries_failed / found.deliveries if found.deliveries else 0.0
        if found.deliveries > FEW and rate > POOR_RATE:
            where = "this node's way out" if rate > BAD_RATE else "their `GET /webhooks/{id}/deliveries`"
            return warned(told, f"look at {where}")
        return passed(told)

    return Check("webhooks.deliveries", run)


def heartbeats_on_time(database: Counted, now: Now) -> Check:
    """Heartbeats run when they are due."""

    async def run(_: ActorSystem) -> Finding:
        late = (await database.backlog(now())).heartbeats_late
        if late:
            return warned(f"{late} heartbeats are minutes late", "look at `GET /diagnostics/actors` under heartbeats")
        return passed("no heartbeat is late")

    return Check("heartbeats.backlog", run)


def grants_purged(database: Counted, now: Now) -> Check:
    """Grants that have expired count for nothing, and are gone after the next night's chores."""

    async def run(_: ActorSystem) -> Finding:
        expired = (await database.backlog(now())).grants_expired
        if expired:
            return warned(f"{expired} grants expired days ago and are still there", "see whether nightly jobs run")
        return passed("no expired grants are left behind")

    return Check("grants.expired", run)
