"""Checks of the database and of what is kept in it."""

from collections.abc import Callable
from datetime import datetime

from understudy.actors.diagnostics.check import Check, Finding, failed, passed, warned
from understudy.actors.diagnostics.ports import AuditChain, DatabaseProbe, Reachable, Searchable
from understudy.runtime import ActorSystem

TOLERATED_SKEW = 5.0
"""Seconds that this machine's clock and the database's may differ without a word."""
HARMFUL_SKEW = 30.0
"""Seconds at which tokens begin to be refused for it: their leeway."""


def database_reachable(database: Reachable) -> Check:
    """PostgreSQL answers."""

    async def run(_: ActorSystem) -> Finding:
        await database.ping()
        return passed("PostgreSQL answers")

    return Check("database.reachable", run, quick=True)


def database_writable(database: DatabaseProbe) -> Check:
    """PostgreSQL takes writes: it is no read-only standby, and its disk is not full."""

    async def run(_: ActorSystem) -> Finding:
        await database.write()
        return passed("a row was written and taken back")

    return Check("database.writable", run)


def database_migrated(database: DatabaseProbe) -> Check:
    """The schema is the one this version was written for."""

    async def run(_: ActorSystem) -> Finding:
        applied, known = await database.migrations()
        if applied < known:
            return failed(f"the schema is at {applied}, this version needs {known}", "run `understudy migrate`")
        if applied > known:
            return warned(
                f"the schema is at {applied}, newer than this version's {known}", "run the newer version of the server"
            )
        return passed(f"the schema is at {applied}, the newest")

    return Check("database.migrations", run)


def search_ready(index: Searchable) -> Check:
    """Full-text search answers."""

    async def run(_: ActorSystem) -> Finding:
        await index.search()
        return passed("full-text search answers (PostgreSQL)")

    return Check("search.ready", run, quick=True)


def vectors_comparable(database: DatabaseProbe) -> Check:
    """Memory is searched by likeness, too, and not by words alone."""

    async def run(_: ActorSystem) -> Finding:
        version = await database.vectors()
        if version is None:
            return warned(
                "no pgvector: memory is searched by words alone", "run CREATE EXTENSION vector in the database"
            )
        return passed(f"vectors are compared by pgvector {version}")

    return Check("search.vectors", run)


def clock_agrees(database: DatabaseProbe, now: Callable[[], datetime]) -> Check:
    """This machine and the database's agree on the time, within what tokens and leases tolerate."""

    async def run(_: ActorSystem) -> Finding:
        before = now()
        theirs = await database.clock()
        after = now()
        # Their reading lies between our two: what is outside is skew, what is inside is the journey.
        skew = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
        hint = "run a time service (NTP) on both machines"
        if skew > HARMFUL_SKEW:
            return failed(f"the clocks differ by {skew:.1f} s", hint)
        if skew > TOLERATED_SKEW:
            return warned(f"the clocks differ by {skew:.1f} s", hint)
        return passed(f"the clocks agree within {skew:.1f} s")

    return Check("clock.skew", run)


def audit_chain_whole(audit: AuditChain) -> Check:
    """No line of the audit log was changed or removed."""

    async def run(_: ActorSystem) -> Finding:
        verdict = await audit.verify()
        if verdict.broken_at is not None:
            return failed(
                f"line {verdict.broken_at} of {verdict.entries} does not fit the chain",
                "somebody changed the audit log: compare with a backup",
            )
        return passed(f"{verdict.entries} lines, each fits the one before")

    return Check("audit.chain", run, within=20.0)
