# ruff: noqa: S608  # statements are put together from constants of the repositories; values are parameters
"""Rows that somebody has for a time, as jobs, heartbeats' runs and deliveries are had by those who do them.

A claim gives a row until a moment, its lease, and a token, higher with each claim. Whoever has the newest token may put
the end off and change the row; whoever has an older one changes nothing, however late they wake. What may be claimed,
and whose turn it is, is each table's own.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

import attrs

from understudy.storage.repository import Repository


@attrs.frozen
class Leased:
    """Where *table* says it: the columns of the token and of the lease's end, and what is true of a claimed row."""

    table: str
    token: str
    until: str
    claimed: str

    def change(self, assignments: str, returning: str = "id") -> str:
        """The statement that changes the row ``%(id)s`` if it is whoever's who has ``%(token)s``."""
        mine = f"id = %(id)s AND {self.token} = %(token)s AND {self.claimed}"
        return f"UPDATE {self.table} SET {assignments} WHERE {mine} RETURNING {returning}"

    def renew(self) -> str:
        """The statement that puts off the end of those claims, of ``%(ids)s`` with ``%(tokens)s``, that still count."""
        return (
            f"UPDATE {self.table} AS r SET {self.until} = %(until)s"
            " FROM unnest(%(ids)s::text[], %(tokens)s::bigint[]) AS held (row_id, row_token)"
            f" WHERE r.id = row_id AND r.{self.token} = row_token AND {self.claimed} RETURNING r.id"
        )


class LeaseRepository(Repository):
    """Base of the repositories of such rows."""

    leased: ClassVar[Leased]

    async def renew(self, claims: Mapping[str, int], until: datetime) -> frozenset[str]:
        """Keep what was claimed (tokens by id) until then, which gives it back if that is now; what of it still counts.

        What is missing in the answer has changed hands, or has ended.
        """
        ids, tokens = list(claims), list(claims.values())
        found = await self._rows(self.leased.renew(), ids=ids, tokens=tokens, until=until)
        return frozenset(row[0] for row in found)
