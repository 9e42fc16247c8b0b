"""Which of a person's entries have the words that are asked for, as a bounded amount of work however many there are.

For each word on each shelf there is a list of the entries that have it, newest first (migration 0027). A word weighs by
how few entries have it, as in BM25 (Robertson and Zaragoza 2009), and an entry by the words that it has. Rare words are
looked through whole; of those that are in many entries only the newest, but for the two rarest of them, of which every
entry that has both is looked at. Only the best of those are then read, and weighed by all of their words.
"""

import attrs

MANY = 100_000
"""Entries among which a word's rarity counts: fixed, so that weights do not shift as a memory grows."""


@attrs.frozen
class Bounds:
    """How much of one memory a search looks at; beyond it, older entries that have common words only are left out."""

    read: int = 40_000
    """Places in lists, shared among the words of the question: a list is known only so far."""
    counted: int = 6_000
    """Places whose entries are told apart and counted, those of rare words before those of common ones."""
    weighed: int = 120
    """Entries that are read, to be weighed by all of their words."""
    compared: int = 5_000
    """Newest entries whose likeness is taken, beside those that are weighed by their words."""


# `list`: what is known of each list. `word`: what each word weighs, and how many places it and the rarer ones have.
# `room`: how far the lists of words count for which not all places do. `pair`: the two rarest of those words. Arrays
# and not rows: they cost a tenth, and most places are only counted.
CANDIDATES = """
WITH asked AS MATERIALIZED (SELECT unnest(tsvector_to_array(to_tsvector('english', %(text)s))) AS lexeme),
shelf AS (
    SELECT memory_shelf(%(workspace)s, %(uid)s, tier) AS number,
           CASE tier WHEN 'daily' THEN coalesce(%(faded)s::timestamptz, '-infinity') ELSE '-infinity' END AS since
    FROM unnest(%(shelves)s::text[]) tier
),
list AS MATERIALIZED (
    SELECT lexeme, positions, cardinality(positions) AS length FROM asked, shelf, LATERAL (
        SELECT array_agg(position) AS positions FROM (
            SELECT position FROM memory_terms
            WHERE key = hashtextextended(lexeme, number) AND created_at >= since AND expires_at > %(now)s
            ORDER BY created_at DESC, position DESC LIMIT %(read)s / (SELECT count(*) FROM asked)
        ) newest
    ) known WHERE positions IS NOT NULL
),
word AS MATERIALIZED (
    SELECT lexeme, ln(1 + %(many)s::float8 / sum(length)) AS weight, count(*) AS lists,
           sum(sum(length)) OVER (ORDER BY sum(length), lexeme) AS so_far
    FROM list GROUP BY lexeme
),
room AS MATERIALIZED (
    SELECT ((%(counted)s - coalesce(max(so_far) FILTER (WHERE so_far <= %(counted)s), 0))
            / greatest(1, sum(lists) FILTER (WHERE so_far > %(counted)s)))::integer AS share FROM word
),
pair AS MATERIALIZED (
    SELECT weight, positions[share + 1:] AS older, dense_rank() OVER (ORDER BY so_far) AS rarity
    FROM word JOIN list USING (lexeme), room WHERE so_far > %(counted)s
),
candidate AS MATERIALIZED (
    SELECT position FROM (
        SELECT position, weight FROM word JOIN list USING (lexeme), room,
            unnest(CASE WHEN so_far <= %(counted)s THEN positions ELSE positions[:share] END) position
        UNION ALL
        SELECT position, one.weight + other.weight
        FROM (SELECT position, weight FROM pair, unnest(older) position WHERE rarity = 1) one
        JOIN (SELECT position, weight FROM pair, unnest(older) position WHERE rarity = 2) other USING (position)
    ) place GROUP BY position ORDER BY sum(weight) DESC, position DESC LIMIT %(weighed)s
)
"""
