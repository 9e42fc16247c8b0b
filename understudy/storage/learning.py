# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Writing what was learned of a turn, each part within the transaction that its connection is in."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import trio

from understudy.storage.connection import Connection
from understudy.storage.encoding import encode
from understudy.storage.memories import lock_memory, put_entry
from understudy.storage.records import Json, MemoryEntry
from understudy.storage.remembered import Lesson, Procedure, Sift
from understudy.storage.repository import rows

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
OWNED = "uid = %(uid)s AND workspace_id = %(workspace)s"
LEFT = "power(%(stale)s, greatest(0, extract(epoch FROM %(now)s - {since}) / 86400))"
STRONGER = f"least(1, weight * {LEFT.format(since='coalesce(touched_at, created_at)')} + %(gain)s)"
RATES = {"stale": LEFT_AFTER_A_DAY, "gain": STRENGTH_GAINED}


async def write_daily(
    connection: Connection[Any], entries: Sequence[MemoryEntry], sift: Sift, most: int, whose: Mapping[str, object]
) -> int:
    """The entries that are new, as far as the day has room; how many."""
    if not entries:
        return 0
    known = await rows(
        connection,
        f"SELECT content, day FROM memory_entries WHERE {OWNED} AND tier IN ('daily', 'notes')"
        f" AND (tier = 'notes' OR created_at > %(since)s) ORDER BY position DESC LIMIT {MOST_RECENT}",
        **whose,
        since=entries[0].created_at - RECENT,
    )
    there = await rows(
        connection,
        f"SELECT count(*) FROM memory_entries WHERE {OWNED} AND tier = 'daily' AND day = %(day)s",
        **whose,
        day=entries[0].day,
    )
    # In a thread: hundreds of comparisons are too long for the loop.
    new = (await trio.to_thread.run_sync(sift, entries, [row[0] for row in known]))[: max(0, most - there[0][0])]
    for entry in new:
        await put_entry(connection, entry)
    return len(new)


async def write_profile(
    connection: Connection[Any], patch: Json, merge: Callable[[Json, Json], Json], uid: str, now: datetime
) -> int:
    """The profile with *patch* merged into it; 1 when that changed anything."""
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


async def write_graph(connection: Connection[Any], lesson: Lesson, whose: Mapping[str, object]) -> int:
    """Things and how they hang together; how many things are new."""
    if not lesson.entities:
        return 0
    counted = await rows(connection, f"SELECT count(*) FROM graph_entities WHERE {OWNED}", **whose)
    room, ids, added = MOST_ENTITIES - counted[0][0], {}, 0
    for entity in lesson.entities:
        known = await rows(
            connection, f"SELECT id FROM graph_entities WHERE {OWNED} AND key = %(key)s", **whose, key=entity.key
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
                f" strength = least(1, e.strength * {LEFT.format(since='e.touched_at')} + %(gain)s)",
                source=ids[edge.source],
                target=ids[edge.target],
                relation=edge.relation.value,
                **whose,
                **RATES,
            )
    return added


async def write_procedures(
    connection: Connection[Any], procedures: Sequence[Procedure], whose: Mapping[str, object]
) -> int:
    """How things are done; how many are new."""
    if not procedures:
        return 0
    counted = await rows(connection, f"SELECT count(*) FROM procedures WHERE {OWNED}", **whose)
    room, added = MOST_PROCEDURES - counted[0][0], 0
    for procedure in procedures:
        steps = encode(list(procedure.steps)).decode()
        known = await rows(
            connection,
            "UPDATE procedures SET successes = successes + 1, steps = %(steps)s::json, trigger_pattern = %(trigger)s"
            f" WHERE {OWNED} AND key = %(key)s RETURNING id",
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
        f" weight = {STRONGER}, touched_at = %(now)s WHERE id = %(id)s AND {OWNED}",
        id=id_,
        content=entry.content,
        embedder=entry.embedder,
        embedding=list(entry.embedding),
        **whose,
        **RATES,
    )
