# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Finding what is remembered: by words, by likeness, along the graph, and in what was said."""

from typing import Any

import attrs

from understudy.storage.connection import Connection
from understudy.storage.memory_words import CANDIDATES, MANY, Bounds
from understudy.storage.pool import Pool
from understudy.storage.records import MemoryCategory, MemoryEntry, MemoryHits, MemoryTier
from understudy.storage.remembered import Scope
from understudy.storage.repository import Repository, Row, rows

COLUMNS = "id, workspace_id, uid, tier, day, category, content, created_at, weight, embedder, expires_at, touched_at"
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
# The numbers of lists are not proof: whose an entry is, and what is in it, it says itself. Beside the first one stand
# the best of all that were weighed, whose likeness is taken too however old they are.
_BY_WORDS = f"""
{CANDIDATES}
SELECT {COLUMNS}, CASE row_number() OVER best WHEN 1 THEN (SELECT array_agg(position) FROM candidate) END
FROM candidate JOIN LATERAL (
    SELECT {COLUMNS}, words, position FROM memory_entries WHERE position = candidate.position OFFSET 0
) entry USING (position) JOIN LATERAL (
    SELECT sum(weight) AS score FROM word WHERE lexeme = ANY (tsvector_to_array(words))
) weighed ON score > 0
WHERE workspace_id = %(workspace)s AND (uid = %(uid)s OR tier = 'workspace')
WINDOW best AS (ORDER BY score DESC, position DESC)
ORDER BY score DESC, position DESC LIMIT %(limit)s
"""
# Exact within the window, by an index that has all it needs. Not by an approximate one: that finds the nearest of
# everybody's, among which there may be none of one's own. What has the words is compared however old it is; so one may
# be there twice. The distance is taken once: OFFSET keeps the planner from writing it into every place that names it.
# The last join is by owner too, for a number may stand for two of them.
_NEWEST = f"""
SELECT id, position, near FROM memory_entries
WHERE bucket = hashtextextended(%(workspace)s || '|' || %(owner)s || '|' || %(embedder)s, 0)
  AND near IS NOT NULL AND {_LIVE}
ORDER BY position DESC LIMIT %(compared)s
"""
_BY_VECTOR = f"""
WITH asked AS MATERIALIZED (SELECT %(embedding)s::real[]::vector::halfvec AS vector),
likely AS (
    SELECT id, position, likeness FROM (
        SELECT id, position, 1 - (near <=> (SELECT vector FROM asked)) AS likeness FROM (
            ({_NEWEST.replace("%(owner)s", "%(uid)s")})
            UNION ALL ({_NEWEST.replace("%(owner)s", "''")})
            UNION ALL (
                SELECT id, position, near FROM unnest(%(worded)s::bigint[]) worded JOIN LATERAL (
                    SELECT id, position, near, embedder FROM memory_entries WHERE position = worded OFFSET 0
                ) entry ON embedder = %(embedder)s
            )
        ) newest OFFSET 0
    ) compared
    WHERE likeness >= %(least)s AND likeness <> 'NaN' ORDER BY likeness DESC, position DESC LIMIT 2 * %(limit)s
),
best AS (
    SELECT DISTINCT ON (likeness, position) id, position, likeness FROM likely
    ORDER BY likeness DESC, position DESC LIMIT %(limit)s
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
        self.bounds = Bounds()

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

        An entry ranks by how many of the words it has and how rare they are, within `bounds`; the newer one first when
        two are equal. Likeness is exact over the newest entries that *embedder* made vectors of, as many as `bounds`
        says, and over older ones that have the words. Without pgvector there is no likeness, and the answer says so.
        *stale* is what is left of an edge's strength after a day.
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
            **attrs.asdict(self.bounds),
        }
        words = {"shelves": sorted(tier.value for tier in scope.tiers - {MemoryTier.SESSION}), "many": MANY}
        vector = {"embedder": embedder, "embedding": list(embedding), "least": least}

        async def work(connection: Connection[Any]) -> MemoryHits:
            worded = await rows(connection, _BY_WORDS, **given, **words)
            by_words, by_vector = tuple(read_entry(row[:-1]) for row in worded), None
            also = {"worded": worded[0][-1] if worded else []}
            if await self._vectors(connection):
                # Without an embedding there is nothing to compare; that is no fault of the server's.
                by_vector = await _found(connection, _BY_VECTOR, **given, **vector, **also) if embedding else ()
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
