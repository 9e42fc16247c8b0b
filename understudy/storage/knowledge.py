# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""What is learned of a turn, how it grows stronger with use, and how it is let go of."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import attrs
import msgspec

from understudy.storage.batch import audit_row, encode
from understudy.storage.connection import Connection
from understudy.storage.memories import lock_memory, put_entry
from understudy.storage.memory_search import COLUMNS, read_entry
from understudy.storage.records import AuditEntry, Json, MemoryEntry
from understudy.storage.remembered import Entity, EntityType, Lesson, Procedure
from understudy.storage.repository import Repository, rows

MOST_ENTITIES = 2000
MOST_PROCEDURES = 200
"""Of one person in one workspace; more are not learned until some have faded."""
STRENGTH_GAINED = 0.10
"""What being used adds to strength, which is at most 1."""
LEFT_AFTER_A_DAY = 0.97
"""What is left of strength after a day without use."""
LEAST_STRENGTH = 0.01
"""What is weaker is let go of."""
RECENT = timedelta(days=30)
MOST_RECENT = 300
"""What is new is compared with so many entries of the last 30 days."""

_decode = msgspec.json.Decoder().decode
_OWNED = "uid = %(uid)s AND workspace_id = %(workspace)s"
_LEFT = "power(%(stale)s, greatest(0, extract(epoch FROM %(now)s - {since}) / 86400))"
_STRONGER = f"least(1, weight * {_LEFT.format(since='coalesce(touched_at, created_at)')} + %(gain)s)"
_RATES = {"stale": LEFT_AFTER_A_DAY, "gain": STRENGTH_GAINED}

Sift = Callable[[Sequence[MemoryEntry], Sequence[str]], Sequence[MemoryEntry]]
"""Of new entries those that say something else than these texts, and than each other."""


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
    ) -> int | None:
        """Remember *lesson* of a turn, once: how much of it was new, None when the turn was learned from already.

        *sift* is asked for the daily entries that are new, *merge* for the profile; a day takes *most_a_day* entries.
        Of the graph and the procedures, what is known already grows stronger and says what the lesson says.
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
            learned = await _write_daily(connection, lesson.daily, sift, most_a_day, whose)
            if lesson.profile:
                learned += await _write_profile(connection, lesson.profile, merge, uid, now)
            learned += await _write_graph(connection, lesson, whose)
            learned += await _write_procedures(connection, lesson.procedures, whose)
            if learned:
                await rows(
                    connection, "UPDATE memory_extractions SET learned = %s WHERE turn_id = %s", learned, turn_id
                )
                counted = attrs.evolve(audit, metadata={**audit.metadata, "learned": learned})
                await rows(connection, "SELECT audit_append(%s::json)", encode([audit_row(counted)]).decode())
            return learned

        return await self._transact(work)

    async def touch(self, workspace_id: str, uid: str, ids: Sequence[str], *, now: datetime) -> None:
        """These were used: what of them is of the graph or a procedure grows stronger, and edges between them do."""

        async def work(connection: Connection[Any]) -> None:
            given: dict[str, object] = {"workspace": workspace_id, "uid": uid, "ids": sorted(ids), "now": now, **_RATES}
            touched = await rows(
                connection,
                f"UPDATE memory_entries SET weight = {_STRONGER}, touched_at = %(now)s"
                f" WHERE id = ANY (%(ids)s) AND {_OWNED} AND tier IN ('graph', 'procedural') RETURNING id",
                **given,
            )
            given["ids"] = [row[0] for row in touched]
            await rows(
                connection,
                "UPDATE graph_edges SET touched_at = %(now)s,"
                f" strength = least(1, strength * {_LEFT.format(since='touched_at')} + %(gain)s)"
                " WHERE source = ANY (%(ids)s) AND target = ANY (%(ids)s)",
                **given,
            )
            await rows(connection, "UPDATE procedures SET uses = uses + 1 WHERE id = ANY (%s)", given["ids"])

        await self._transact(work)

    async def let_go(self, now: datetime) -> tuple[int, int]:
        """Delete edges and things of the graph that have grown too weak; how many of each."""
        given: dict[str, object] = {"now": now, "least": LEAST_STRENGTH, "stale": LEFT_AFTER_A_DAY}
        edges = await self._count(
            f"DELETE FROM graph_edges WHERE strength * {_LEFT.format(since='touched_at')} < %(least)s", **given
        )
        things = await self._count(
            "DELETE FROM memory_entries WHERE tier = 'graph'"
            f" AND weight * {_LEFT.format(since='coalesce(touched_at, created_at)')} < %(least)s",
            **given,
        )
        return edges, things

    async def active(self, since: datetime, *, limit: int = 1000) -> tuple[tuple[str, str, date], ...]:
        """Who had something written on which day since then: workspace, person, day."""
        found = await self._rows(
            "SELECT workspace_id, uid, day FROM memory_entries WHERE tier = 'daily' AND created_at >= %s"
            " GROUP BY 1, 2, 3 HAVING count(*) > 1 ORDER BY 3, 1, 2 LIMIT %s",
            since,
            limit,
        )
        return tuple((row[0], row[1], row[2]) for row in found)

    async def thin_out(self, workspace_id: str, uid: str, day: date, sift: Sift) -> int:
        """Delete of a day's entries what says the same as an earlier one; how many."""

        async def work(connection: Connection[Any]) -> int:
            await lock_memory(connection, uid, workspace_id, "daily")
            found = await rows(
                connection,
                f"SELECT {COLUMNS} FROM memory_entries WHERE {_OWNED} AND tier = 'daily' AND day = %(day)s"
                " ORDER BY position",
                workspace=workspace_id,
                uid=uid,
                day=day,
            )
            entries = [read_entry(row) for row in found]
            kept = {entry.id for entry in sift(entries, ())}
            gone = [entry.id for entry in entries if entry.id not in kept]
            await rows(connection, "DELETE FROM memory_entries WHERE id = ANY (%s)", gone)
            return len(gone)

        return await self._transact(work)


async def _write_daily(
    connection: Connection[Any], entries: Sequence[MemoryEntry], sift: Sift, most: int, whose: Mapping[str, object]
) -> int:
    if not entries:
        return 0
    known = await rows(
        connection,
        f"SELECT content, day FROM memory_entries WHERE {_OWNED} AND tier IN ('daily', 'notes')"
        f" AND (tier = 'notes' OR created_at > %(since)s) ORDER BY position DESC LIMIT {MOST_RECENT}",
        **whose,
        since=entries[0].created_at - RECENT,
    )
    there = await rows(
        connection,
        f"SELECT count(*) FROM memory_entries WHERE {_OWNED} AND tier = 'daily' AND day = %(day)s",
        **whose,
        day=entries[0].day,
    )
    new = sift(entries, [row[0] for row in known])[: max(0, most - there[0][0])]
    for entry in new:
        await put_entry(connection, entry)
    return len(new)


async def _write_profile(
    connection: Connection[Any], patch: Json, merge: Callable[[Json, Json], Json], uid: str, now: datetime
) -> int:
    await lock_memory(connection, uid, "profile")
    found = await rows(connection, "SELECT profile::text FROM user_profiles WHERE uid = %s", uid)
    before = _decode(found[0][0]) if found else {}
    after = merge(before, patch)
    if after == before:
        return 0
    await rows(
        connection,
        "INSERT INTO user_profiles (uid, profile, updated_at) VALUES (%s, %s::json, %s)"
        " ON CONFLICT (uid) DO UPDATE SET profile = excluded.profile, updated_at = excluded.updated_at",
        uid,
        encode(after).decode(),
        now,
    )
    return 1


async def _write_graph(connection: Connection[Any], lesson: Lesson, whose: Mapping[str, object]) -> int:
    if not lesson.entities:
        return 0
    counted = await rows(connection, f"SELECT count(*) FROM graph_entities WHERE {_OWNED}", **whose)
    room, ids, added = MOST_ENTITIES - counted[0][0], {}, 0
    for entity in lesson.entities:
        known = await rows(
            connection, f"SELECT id FROM graph_entities WHERE {_OWNED} AND key = %(key)s", **whose, key=entity.key
        )
        if known:
            ids[entity.key] = known[0][0]
            await _rewrite(connection, known[0][0], entity.entry, whose)
            await rows(connection, "UPDATE graph_entities SET mentions = mentions + 1 WHERE id = %s", known[0][0])
        elif room > 0:
            room, added = room - 1, added + 1
            ids[entity.key] = (await put_entry(connection, entity.entry)).id
            await rows(
                connection,
                "INSERT INTO graph_entities (id, workspace_id, uid, name, key, type) VALUES (%s, %s, %s, %s, %s, %s)",
                entity.entry.id,
                whose["workspace"],
                whose["uid"],
                entity.name,
                entity.key,
                entity.type.value,
            )
    for edge in lesson.edges:
        if edge.source in ids and edge.target in ids and edge.source != edge.target:
            await rows(
                connection,
                "INSERT INTO graph_edges AS e (source, target, relation, strength, touched_at)"
                " VALUES (%(source)s, %(target)s, %(relation)s, 0.5, %(now)s)"
                " ON CONFLICT (source, target, relation) DO UPDATE SET touched_at = excluded.touched_at,"
                f" strength = least(1, e.strength * {_LEFT.format(since='e.touched_at')} + %(gain)s)",
                source=ids[edge.source],
                target=ids[edge.target],
                relation=edge.relation.value,
                **whose,
                **_RATES,
            )
    return added


async def _write_procedures(
    connection: Connection[Any], procedures: Sequence[Procedure], whose: Mapping[str, object]
) -> int:
    if not procedures:
        return 0
    counted = await rows(connection, f"SELECT count(*) FROM procedures WHERE {_OWNED}", **whose)
    room, added = MOST_PROCEDURES - counted[0][0], 0
    for procedure in procedures:
        steps = encode(list(procedure.steps)).decode()
        known = await rows(
            connection,
            "UPDATE procedures SET successes = successes + 1, steps = %(steps)s::json, trigger_pattern = %(trigger)s"
            f" WHERE {_OWNED} AND key = %(key)s RETURNING id",
            **whose,
            key=procedure.key,
            steps=steps,
            trigger=procedure.trigger,
        )
        if known:
            await _rewrite(connection, known[0][0], procedure.entry, whose)
        elif room > 0:
            room, added = room - 1, added + 1
            await put_entry(connection, procedure.entry)
            await rows(
                connection,
                "INSERT INTO procedures (id, workspace_id, uid, trigger_pattern, key, steps)"
                " VALUES (%s, %s, %s, %s, %s, %s::json)",
                procedure.entry.id,
                whose["workspace"],
                whose["uid"],
                procedure.trigger,
                procedure.key,
                steps,
            )
    return added


async def _rewrite(connection: Connection[Any], id_: str, entry: MemoryEntry, whose: Mapping[str, object]) -> None:
    """Let the entry say what *entry* says, and be stronger for it."""
    await rows(
        connection,
        "UPDATE memory_entries SET content = %(content)s, embedder = %(embedder)s, embedding = %(embedding)s::real[],"
        f" weight = {_STRONGER}, touched_at = %(now)s WHERE id = %(id)s AND {_OWNED}",
        id=id_,
        content=entry.content,
        embedder=entry.embedder,
        embedding=list(entry.embedding),
        **whose,
        **_RATES,
    )
