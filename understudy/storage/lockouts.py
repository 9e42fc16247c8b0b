"""Locking out whoever fails to log in too often."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from understudy.storage.connection import Connection
from understudy.storage.records import LockoutRule
from understudy.storage.repository import Repository, rows


@attrs.frozen
class Failures:
    """What is known of one subject's failures."""

    failures: int
    window_started: datetime
    locks: int
    locked_until: datetime | None
    last_failure: datetime


def after_failure(known: Failures | None, rule: LockoutRule, now: datetime) -> Failures:
    """*known*, one failure later. Locks are forgotten by whoever stays quiet for the longest lock and a window."""
    if known is None or now - known.last_failure > rule.ceiling + rule.window:
        known = Failures(0, now, 0, None, now)
    if now - known.window_started >= rule.window:
        known = attrs.evolve(known, failures=0, window_started=now)
    failures = known.failures + 1
    if failures < rule.limit:
        return attrs.evolve(known, failures=failures, last_failure=now)
    length = min(rule.ceiling, rule.first * 2 ** min(known.locks, 30))
    return Failures(0, now, known.locks + 1, now + length, now)


class LockoutRepository(Repository):
    """Failures and locks, by subject (``email:…``, ``ip:…``)."""

    async def locked_until(self, subjects: Sequence[str], *, now: datetime) -> datetime | None:
        """The latest end of the locks on *subjects* that are still in force."""
        row = await self._row(
            "SELECT max(locked_until) FROM login_lockouts WHERE subject = ANY (%s) AND locked_until > %s",
            list(subjects),
            now,
        )
        return row[0] if row else None

    async def fail(self, subject: str, rule: LockoutRule, *, now: datetime) -> datetime | None:
        """Count a failure; when the subject is locked now, until when."""

        async def work(connection: Connection[Any]) -> datetime | None:
            await rows(connection, "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", subject)
            found = await rows(
                connection,
                "SELECT failures, window_started, locks, locked_until, last_failure FROM login_lockouts"
                " WHERE subject = %s",
                subject,
            )
            then = after_failure(Failures(*found[0]) if found else None, rule, now)
            await rows(
                connection,
                "INSERT INTO login_lockouts (subject, failures, window_started, locks, locked_until, last_failure)"
                " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (subject) DO UPDATE SET failures = excluded.failures,"
                " window_started = excluded.window_started, locks = excluded.locks,"
                " locked_until = excluded.locked_until, last_failure = excluded.last_failure",
                subject,
                *attrs.astuple(then),
            )
            return then.locked_until if then.locked_until is not None and then.locked_until > now else None

        return await self._transact(work)

    async def clear(self, subject: str) -> None:
        """Forget the subject's failures and locks: it logged in."""
        await self._count("DELETE FROM login_lockouts WHERE subject = %s", subject)

    async def sweep(self, *, before: datetime) -> int:
        """Forget subjects that last failed before *before* and are not locked any more; how many."""
        return await self._prune(
            "login_lockouts", "last_failure < %s AND (locked_until IS NULL OR locked_until < %s)", before, before
        )
