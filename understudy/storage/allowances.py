# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Reserving for what is asked of models beside turns, in the counters that turns reserve in."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from understudy.storage.connection import Connection
from understudy.storage.errors import QuotaExceeded
from understudy.storage.repository import Repository, rows
from understudy.storage.spending import Charge, Reservation

_WANTED = "(c.scope, c.starts) IN (SELECT * FROM unnest(%(scopes)s::text[], %(starts)s::timestamptz[]))"
_LAPSED = f"""
WITH lapsed AS (
    DELETE FROM quota_reservations c WHERE c.lapses_at <= %(now)s AND {_WANTED} RETURNING c.scope, c.starts, c.amount
)
UPDATE quota_counters c SET reserved = c.reserved - l.amount
FROM (SELECT scope, starts, sum(amount)::bigint AS amount FROM lapsed GROUP BY scope, starts) l
WHERE c.scope = l.scope AND c.starts = l.starts
"""
_SETTLE = """
WITH freed AS (DELETE FROM quota_reservations WHERE turn_id = %s RETURNING scope, starts, money, amount)
UPDATE quota_counters c SET reserved = c.reserved - freed.amount,
    used = c.used + CASE WHEN freed.money THEN %s::bigint ELSE %s::bigint END
FROM freed WHERE c.scope = freed.scope AND c.starts = freed.starts
"""


class AllowanceRepository(Repository):
    """Reservations of work that is no turn. A holder is named after what it does, and does it once at a time."""

    async def reserve(self, holder: str, wanted: Sequence[Reservation], *, now: datetime, lapses_at: datetime) -> None:
        """Speak for all of *wanted*, until it is settled or lapses. What the holder had reserved before is given back.

        Raises `QuotaExceeded` with the place of the first that does not suffice: nothing is reserved then.
        """

        async def work(connection: Connection[Any]) -> None:
            given = {"scopes": [x.scope for x in wanted], "starts": [x.starts for x in wanted], "now": now}
            await rows(
                connection,
                "INSERT INTO quota_counters (scope, starts)"
                " SELECT * FROM unnest(%(scopes)s::text[], %(starts)s::timestamptz[]) AS w (scope, starts)"
                " ORDER BY scope, starts ON CONFLICT DO NOTHING",
                **given,
            )
            # Held until the commit, in the order in which turns hold them.
            await rows(
                connection,
                f"SELECT FROM quota_counters c WHERE {_WANTED} ORDER BY c.scope, c.starts FOR UPDATE",
                **given,
            )
            await settle(connection, holder, ())
            await rows(connection, _LAPSED, **given)
            for which, each in enumerate(wanted):
                held = await rows(
                    connection,
                    "UPDATE quota_counters SET reserved = reserved + %(amount)s WHERE scope = %(scope)s"
                    " AND starts = %(starts)s AND used + reserved + %(amount)s <= %(most)s RETURNING scope",
                    amount=each.amount,
                    scope=each.scope,
                    starts=each.starts,
                    most=each.most,
                )
                if not held:
                    raise QuotaExceeded(which)
                await rows(
                    connection,
                    "INSERT INTO quota_reservations (turn_id, scope, starts, money, amount, lapses_at)"
                    " VALUES (%s, %s, %s, %s, %s, %s)",
                    holder,
                    each.scope,
                    each.starts,
                    each.money,
                    each.amount,
                    lapses_at,
                )

        await self._transact(work)

    async def settle(self, holder: str, charges: Sequence[Charge]) -> None:
        """Give back what the holder reserved, and count *charges* as used. Nothing is counted without a reservation."""

        async def work(connection: Connection[Any]) -> None:
            await settle(connection, holder, charges)

        await self._transact(work)


async def settle(connection: Connection[Any], holder: str, charges: Sequence[Charge]) -> None:
    """`AllowanceRepository.settle`, in the transaction that *connection* is in."""
    cost = sum(charge.cost or 0 for charge in charges)
    await rows(connection, _SETTLE, holder, cost, sum(charge.usage.total_tokens for charge in charges))
