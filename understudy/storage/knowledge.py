# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""What is learned of a turn, how it grows stronger with use, and how it is let go of."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import attrs
import trio

from understudy.storage.allowances import settle
from understudy.storage.audit import record
from understudy.storage.compaction import bill
from understudy.storage.connection import Connection
from understudy.storage.learning import (
    LEAST_STRENGTH,
    LEFT,
    LEFT_AFTER_A_DAY,
    OWNED,
    RATES,
    STRONGER,
    write_daily,
    write_graph,
    write_procedures,
    write_profile,
)
from understudy.storage.memories import lock_memory
from understudy.storage.memory_search import COLUMNS, read_entry
from understudy.storage.records import AuditEntry, Json, MemoryEntry
from understudy.storage.remembered import Entity, EntityType, Lesson, Sift
from understudy.storage.repository import Repository, rows
from understudy.storage.spending import Charge


class KnowledgeRepository(Repository):
    """Knowledge as one person in one workspace has it. Each change is one transaction, index and audit log included."""

    async def entities(self, workspace_id: str, uid: str, keys: Sequence[str]) -> Mapping[str, Entity]:
        """What is known of things, by the keys of their names."""
        found = await self._rows(
            f"SELECT {', '.join('m.' + name for name in COLUMNS.split(', '))}, g.name, g.type FROM graph_entities g"
            " JOIN memory_entries m USING (id)"
            " WHERE g.uid = %(uid)s AND g.workspace_id = %(workspace)s AND g.key = ANY (%(keys)s)",
            uid=uid,
            workspace=workspace_id,
            keys=list(keys),
        )
        known = (Entity(read_entry(row[:-2]), row[-2], EntityType(row[-1])) for row in found)
        return {entity.key: entity for entity in known}

    async def learned(self, turn_id: str) -> bool:
        """Whether the turn was learned from already."""
        return await self._row("SELECT FROM memory_extractions WHERE turn_id = %s", turn_id) is not None

    async def learn(
        self,
        turn_id: str,
        workspace_id: str,
        uid: str,
        lesson: Lesson,
        audit: AuditEntry,
        *,
        sift: Sift,
        merge: Callable[[Json, Json], Json],
        most_a_day: int,
        now: datetime,
        charges: Sequence[Charge] = (),
        holder: str | None = None,
    ) -> int | None:
        """Remember *lesson* of a turn, once: how much of it was new, None when the turn was learned from already.

        *sift* is asked for the daily entries that are new, *merge* for the profile; a day takes *most_a_day* entries.
        Of the graph and the procedures, what is known already grows stronger and says what the lesson says. *charges*
        are what it cost, and join the turn's; what *holder* had reserved for them is settled.
        """

        async def work(connection: Connection[Any]) -> int | None:
            await lock_memory(connection, uid, workspace_id, "daily")
            whose: dict[str, object] = {"workspace": workspace_id, "uid": uid, "now": now}
            if not await rows(
                connection,
                "INSERT INTO memory_extractions (turn_id, workspace_id, uid, learned, created_at)"
                " SELECT id, %(workspace)s, %(uid)s, 0, %(now)s FROM turns WHERE id = %(turn)s"
                " ON CONFLICT DO NOTHING RETURNING turn_id",
                turn=turn_id,
                **whose,
            ):
                return None
            await bill(connection, turn_id, charges)
            if holder is not None:
                await settle(connection, holder, charges)
            learned = await write_daily(connection, lesson.daily, sift, most_a_day, whose)
            if lesson.profile:
                learned += await write_profile(connection, lesson.profile, merge, uid, now)
            learned += await write_graph(connection, lesson, whose)
            learned += await write_procedures(connection, lesson.procedures, whose)
            if learned:
                await rows(
                    connection, "UPDATE memory_extractions SET learned = %s WHERE turn_id = %s", learned, turn_id
                )
                counted = attrs.evolve(audit, metadata={**audit.metadata, "learned": learned})
                await record(connection, counted)
            return learned

        return await self._transact(work)

    async def written_down(self, last: str) -> bool:
        """Whether something, or nothing, was written down of the messages up to this one."""
        return await self._row("SELECT FROM memory_flushes WHERE message_id = %s", last) is not None

    async def write_down(
        self,
        last: str,
        entries: Sequence[MemoryEntry],
        audit: AuditEntry,
        *,
        sift: Sift,
        most_a_day: int,
        now: datetime,
        charges: Sequence[Charge] = (),
        holder: str | None = None,
    ) -> int | None:
        """Keep what an agent writes down of a conversation up to *last*, once: how much of it was new.

        None when that was done already, or the message is gone. *sift*, *most_a_day*, *charges* and *holder* are as
        with `learn`; they are billed to the turn of that message, in the workspace and for the person of *audit*.
        """

        async def work(connection: Connection[Any]) -> int | None:
            uid, workspace_id = str(audit.uid), str(audit.workspace_id)
            await lock_memory(connection, uid, workspace_id, "daily")
            found = await rows(
                connection,
                "WITH noted AS (INSERT INTO memory_flushes (message_id, written, created_at)"
                " SELECT id, 0, %(now)s FROM session_messages WHERE id = %(last)s ON CONFLICT DO NOTHING"
                " RETURNING message_id)"
                " SELECT turn_id FROM session_messages JOIN noted ON id = message_id",
                last=last,
                now=now,
            )
            if not found:
                return None
            if found[0][0] is not None:
                await bill(connection, found[0][0], charges)
            if holder is not None:
                await settle(connection, holder, charges)
            whose: dict[str, object] = {"workspace": workspace_id, "uid": uid, "now": now}
            written = await write_daily(connection, entries, sift, most_a_day, whose)
            if written:
                await rows(connection, "UPDATE memory_flushes SET written = %s WHERE message_id = %s", written, last)
                await record(connection, attrs.evolve(audit, metadata={**audit.metadata, "written": written}))
            return written

        return await self._transact(work)

    async def touch(self, workspace_id: str, uid: str, ids: Sequence[str], *, now: datetime) -> None:
        """These were used: what of them is of the graph or a procedure grows stronger, and edges between them do."""

        async def work(connection: Connection[Any]) -> None:
            given: dict[str, object] = {"workspace": workspace_id, "uid": uid, "ids": sorted(ids), "now": now, **RATES}
            touched = await rows(
                connection,
                f"UPDATE memory_entries SET weight = {STRONGER}, touched_at = %(now)s"
                f" WHERE id = ANY (%(ids)s) AND {OWNED} AND tier IN ('graph', 'procedural') RETURNING id",
                **given,
            )
            given["ids"] = [row[0] for row in touched]
            await rows(
                connection,
                "UPDATE graph_edges SET touched_at = %(now)s,"
                f" strength = least(1, strength * {LEFT.format(since='touched_at')} + %(gain)s)"
                " WHERE source = ANY (%(ids)s) AND target = ANY (%(ids)s)",
                **given,
            )
            await rows(connection, "UPDATE procedures SET uses = uses + 1 WHERE id = ANY (%s)", given["ids"])

        await self._transact(work)

    async def let_go(self, now: datetime) -> tuple[int, int]:
        """Delete edges and things of the graph that have grown too weak; how many of each."""
        given: dict[str, object] = {"now": now, "least": LEAST_STRENGTH, "stale": LEFT_AFTER_A_DAY}
        edges = await self._prune("graph_edges", f"strength * {LEFT.format(since='touched_at')} < %(least)s", **given)
        things = await self._prune(
            "memory_entries",
            f"tier = 'graph' AND weight * {LEFT.format(since='coalesce(touched_at, created_at)')} < %(least)s",
            **given,
        )
        return edges, things

    async def active(
        self, since: datetime, *, after: tuple[str, str, date] | None = None, limit: int = 1000
    ) -> tuple[tuple[str, str, date], ...]:
        """Who had more than one thing written on which day since then: workspace, person, day; those behind *after*."""
        found = await self._rows(
            "SELECT workspace_id, uid, day FROM memory_entries WHERE tier = 'daily' AND created_at >= %s"
            " AND (%s::text IS NULL OR (workspace_id, uid, day) > (%s, %s, %s))"
            " GROUP BY 1, 2, 3 HAVING count(*) > 1 ORDER BY 1, 2, 3 LIMIT %s",
            since,
            after[0] if after is not None else None,
            *(after or (None, None, None)),
            limit,
        )
        return tuple((row[0], row[1], row[2]) for row in found)

    async def thin_out(self, workspace_id: str, uid: str, day: date, sift: Sift) -> int:
        """Delete of a day's entries what says the same as an earlier one; how many."""

        async def work(connection: Connection[Any]) -> int:
            await lock_memory(connection, uid, workspace_id, "daily")
            found = await rows(
                connection,
                f"SELECT {COLUMNS} FROM memory_entries WHERE {OWNED} AND tier = 'daily' AND day = %(day)s"
                " ORDER BY position",
                workspace=workspace_id,
                uid=uid,
                day=day,
            )
            entries = [read_entry(row) for row in found]
            kept = {entry.id for entry in await trio.to_thread.run_sync(sift, entries, ())}  # too long for the loop
            gone = [entry.id for entry in entries if entry.id not in kept]
            await rows(connection, "DELETE FROM memory_entries WHERE id = ANY (%s)", gone)
            return len(gone)

        return await self._transact(work)
