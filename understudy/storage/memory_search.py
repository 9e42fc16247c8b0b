# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Finding what is remembered: by words, by likeness, along the graph, and in what was said."""

from typing import Any

from understudy.storage.connection import Connection
from understudy.storage.pool import Pool
from understudy.storage.records import MemoryCategory, MemoryEntry, MemoryHits, MemoryTier
from understudy.storage.remembered import Scope
from understudy.storage.repository import Repository, Row, rows

COLUMNS = "id, workspace_id, uid, tier, day, category, content, created_at, weight, embedder, expires_at, touched_at"
WINDOW = 5_000
"""Entries of one person, the newest, whose likeness is taken. Older ones are found by their words."""
MOST_SEEDS = 8
"""Things found otherwise from which the graph is walked."""
MOST_REACHED = 200
"""Edges that one step along the graph takes."""
SAID_SESSIONS, SAID_MESSAGES = 20, 100
"""The newest sessions, and the newest messages of each, that a search looks through."""
LONGEST_SAID = 2000

_LIVE = (
    "(%(tiers)s::text[] IS NULL OR tier = ANY (%(tiers)s))"
    " AND (tier <> 'daily' OR %(faded)s::timestamptz IS NULL OR created_at >= %(faded)s)"
    " AND (expires_at IS NULL OR expires_at > %(now)s)"
)
# Any of the words will do: people ask with more words than what they ask for was written with.
_ASKED = "SELECT replace(plainto_tsquery('english', %(text)s)::text, ' & ', ' | ')::tsquery AS query"
# One's own, and what the workspace shares: two questions, for each of which there is an index.
_BY_WORDS = f"""
WITH asked AS MATERIALIZED ({_ASKED}),
found AS (
    (SELECT {COLUMNS}, position, ts_rank(words, query) AS rank FROM memory_entries, asked
     WHERE uid = %(uid)s AND workspace_id = %(workspace)s AND tier <> 'workspace' AND {_LIVE} AND words @@ query
     ORDER BY rank DESC, position DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT {COLUMNS}, position, ts_rank(words, query) AS rank FROM memory_entries, asked
     WHERE workspace_id = %(workspace)s AND tier = 'workspace' AND {_LIVE} AND words @@ query
     ORDER BY rank DESC, position DESC LIMIT %(limit)s)
)
SELECT {COLUMNS} FROM found ORDER BY rank DESC, position DESC LIMIT %(limit)s
"""
# Exact within the window, by an index that has all it needs. Not by an approximate one: that finds the nearest of
# everybody's, among which there may be none of one's own. The distance is taken once: OFFSET keeps the planner from
# writing it into every place that names it. The last join is by owner too, for a number may stand for two of them.
_NEWEST = f"""
SELECT id, position, near FROM memory_entries
WHERE bucket = hashtextextended(%(workspace)s || '|' || %(owner)s || '|' || %(embedder)s, 0)
  AND near IS NOT NULL AND {_LIVE}
ORDER BY position DESC LIMIT %(window)s
"""
_BY_VECTOR = f"""
WITH asked AS MATERIALIZED (SELECT %(embedding)s::real[]::vector::halfvec AS vector),
best AS (
    SELECT id, position, likeness FROM (
        SELECT id, position, 1 - (near <=> (SELECT vector FROM asked)) AS likeness FROM (
            ({_NEWEST.replace("%(owner)s", "%(uid)s")})
            UNION ALL ({_NEWEST.replace("%(owner)s", "''")})
        ) newest OFFSET 0
    ) compared
    WHERE likeness >= %(least)s AND likeness <> 'NaN' ORDER BY likeness DESC, position DESC LIMIT %(limit)s
)
SELECT {COLUMNS} FROM best JOIN LATERAL (
    SELECT {COLUMNS} FROM memory_entries WHERE id = best.id OFFSET 0  -- one by one: not all of the person's for some
) entry USING (id)
WHERE workspace_id = %(workspace)s AND (uid = %(uid)s OR tier = 'workspace')
ORDER BY likeness DESC, best.position DESC
"""
# Two steps along the edges, the strongest first; what is reached counts by how strong the way to it is by now.
_STRENGTH = "e.strength * power(%(stale)s, greatest(0, extract(epoch FROM %(now)s - e.touched_at) / 86400))"
_STEP = f"""
SELECT CASE e.source WHEN at.id THEN e.target ELSE e.source END AS id, at.strength * {_STRENGTH} AS strength
FROM {{at}} at JOIN graph_edges e ON at.id IN (e.source, e.target) ORDER BY strength DESC LIMIT {MOST_REACHED}
"""
_BY_GRAPH = f"""
WITH seed AS (SELECT unnest(%(seeds)s::text[]) AS id, 1.0::double precision AS strength),
first AS ({_STEP.format(at="seed")}),
second AS ({_STEP.format(at="first")}),
reached AS (
    SELECT id, max(strength) AS closeness FROM (
        SELECT id, strength FROM first UNION ALL SELECT id, strength / 2 FROM second
    ) ways GROUP BY id
)
SELECT {COLUMNS} FROM memory_entries JOIN reached USING (id)
WHERE uid = %(uid)s AND workspace_id = %(workspace)s AND {_LIVE}
ORDER BY closeness DESC, position DESC LIMIT %(limit)s
"""
_SAID = f"""
WITH asked AS MATERIALIZED ({_ASKED}),
mine AS (
    SELECT id FROM sessions WHERE uid = %(uid)s AND workspace_id = %(workspace)s
      AND id IS DISTINCT FROM %(besides)s ORDER BY last_active_at DESC LIMIT {SAID_SESSIONS}
)
SELECT m.id, %(workspace)s, %(uid)s, 'session', (m.created_at AT TIME ZONE 'UTC')::date, 'interaction',
       left(m.content, {LONGEST_SAID}), m.created_at, 1.0::float8, '', NULL, NULL
FROM asked, mine JOIN LATERAL (
    SELECT * FROM session_messages WHERE session_id = mine.id ORDER BY position DESC LIMIT {SAID_MESSAGES}
) m ON true
WHERE m.role IN ('user', 'assistant') AND m.status = 'complete' AND m.content <> '' AND m.words @@ query
ORDER BY ts_rank(m.words, query) DESC, m.created_at DESC LIMIT %(limit)s
"""


_ALL = frozenset(MemoryTier)


class MemorySearch(Repository):
    """Searches, each over what one person may see in one workspace: their own, and what the workspace shares."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._has_vectors = False

    async def search(
        self,
        scope: Scope,
        *,
        text: str,
        embedder: str,
        embedding: tuple[float, ...],
        limit: int,
        least: float,
        stale: float,
    ) -> MemoryHits:
        """What has any word of *text*, and what has a cosine of at least *least* with *embedding*; so many of each.

        Likeness is exact over the `WINDOW` newest entries that *embedder* made vectors of. Without pgvector there is no
        likeness, and the answer says so. *stale* is what is left of an edge's strength after a day.
        """
        tiers = None if scope.tiers == _ALL else [tier.value for tier in scope.tiers]
        given: dict[str, object] = {
            "workspace": scope.workspace_id,
            "uid": scope.uid,
            "tiers": tiers,
            "faded": scope.faded,
            "now": scope.now,
            "besides": scope.besides,
            "text": text,
            "limit": limit,
        }
        vector = {"embedder": embedder, "embedding": list(embedding), "least": least, "window": WINDOW}

        async def work(connection: Connection[Any]) -> MemoryHits:
            by_words = await _found(connection, _BY_WORDS, **given)
            by_vector = None
            if await self._vectors(connection):
                # Without an embedding there is nothing to compare; that is no fault of the server's.
                by_vector = await _found(connection, _BY_VECTOR, **given, **vector) if embedding else ()
            things = (entry.id for entry in (*(by_vector or ()), *by_words) if entry.tier is MemoryTier.GRAPH)
            seeds = list(dict.fromkeys(things))[:MOST_SEEDS]
            by_graph = await _found(connection, _BY_GRAPH, **given, seeds=seeds, stale=stale) if seeds else ()
            said = await _found(connection, _SAID, **given) if MemoryTier.SESSION in scope.tiers else ()
            return MemoryHits(by_words, by_vector, by_graph, said)

        return await self._run(work)

    async def _vectors(self, connection: Connection[Any]) -> bool:
        """Whether the server can compare vectors. Asked again until it can: the extension may be added any time."""
        if not self._has_vectors and await rows(connection, "SELECT WHERE to_regtype('halfvec') IS NOT NULL"):
            await rows(connection, "CALL memory_vectors()")
            self._has_vectors = True
        return self._has_vectors


def read_entry(row: Row) -> MemoryEntry:
    """The entry of a row of `COLUMNS`."""
    id_, workspace_id, uid, tier, day, category, content, created_at, weight, embedder, expires_at, touched_at = row
    return MemoryEntry(
        id_,
        workspace_id,
        uid,
        MemoryTier(tier),
        day,
        MemoryCategory(category) if category in _CATEGORIES else category,
        content,
        created_at,
        weight,
        embedder,
        (),
        expires_at,
        touched_at,
    )


_CATEGORIES = frozenset(category.value for category in MemoryCategory)


async def _found(connection: Connection[Any], query: str, **given: object) -> tuple[MemoryEntry, ...]:
    return tuple(map(read_entry, await rows(connection, query, **given)))
