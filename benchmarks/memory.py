"""What a search of memory costs by how much one person has and what is asked, among 100,000 entries of others.

``python -m benchmarks.memory [--searches 40] [--largest 100000]`` starts a PostgreSQL of its own, fills it, and prints
three tables: whole searches (embedding and fusing included) beside full text that ranks every match, as PostgreSQL does
it by itself; how much of the best is found; and what a write costs with and without the lists of words.

Words are as frequent as those of a language are once its stop words are gone: the commonest is in 6 % of the entries.
"""

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import trio

from tests.support.database import TestServer
from understudy.actors.memory import embedder
from understudy.actors.memory.ranking import STALE, fuse
from understudy.storage.memories import MemoriesRepository
from understudy.storage.memory_words import Bounds
from understudy.storage.pool import Pool
from understudy.storage.records import MemoryHits, User, Workspace
from understudy.storage.remembered import Scope
from understudy.storage.repository import rows
from understudy.storage.users import UserRepository

OTHERS = 100_000
"""Entries of somebody else."""
EVERYTHING = Bounds(read=10**8, counted=10**8, weighed=2_000, compared=10**6)
VOCABULARY = 20_000
WARM = 12
"""Searches before those that are timed: PostgreSQL plans the first ten of each statement one by one."""
_INSERT = """
INSERT INTO memory_entries
    (id, workspace_id, uid, tier, day, category, content, weight, created_at, embedder, embedding)
SELECT 'mem_' || r.uid || r.n, r.uid, r.uid, 'daily', '2026-11-22', 'note', r.content, 1,
    '2026-11-01'::timestamptz + r.n * interval '1 second', %s, r.embedding
FROM json_to_recordset(%s::json) AS r(uid text, n int, content text, embedding real[])
"""
# Every match is read and ranked: what a search did before there were lists of words.
_PLAIN = """
SELECT id, content
FROM memory_entries, (SELECT replace(plainto_tsquery('english', %s)::text, ' & ', ' | ')::tsquery AS query) asked
WHERE uid = %s AND workspace_id = %s AND words @@ query ORDER BY ts_rank(words, query) DESC, position DESC LIMIT 50
"""


class Language:
    """Words that sound like some, the common ones first, and sentences of them."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        heads = [first + second for first in "bdfgkmprtsv" for second in ("", "l", "r")]
        made: dict[str, None] = {}
        while len(made) < VOCABULARY:
            syllables = (rng.choice(heads) + rng.choice("aeiou") for _ in range(rng.choice([2, 2, 3])))
            made["".join(syllables) + rng.choice(["", "n", "r", "l", "ck"])] = None
        self.words = list(made)
        self._frequency = list(itertools.accumulate(1 / (rank + 20) for rank in range(VOCABULARY)))

    def sentence(self, words: int = 8) -> str:
        return " ".join(self._rng.choices(self.words, cum_weights=self._frequency, k=words))

    def questions(self, count: int, texts: Sequence[str]) -> Mapping[str, list[str]]:
        """What may be asked, by kind."""
        pick, words = self._rng.sample, self.words

        def asked(*among: tuple[int, int]) -> list[str]:
            return [" ".join(pick(words[low:high], 1)[0] for low, high in among) for _ in range(count)]

        return {
            "an entry as it is (8 words)": pick(texts, count),
            "2 common words, 2 others": asked((0, 30), (0, 100), (100, 1_000), (1_000, 5_000)),
            "4 of the 30 commonest": [" ".join(pick(words[:30], 4)) for _ in range(count)],
            "3 rare words": asked(*[(5_000, VOCABULARY)] * 3),
            "words that nobody has": [f"qx{number}q zx{number}z" for number in range(count)],
        }


async def fill(pool: Pool, language: Language, owners: Sequence[int]) -> dict[int, list[str]]:
    """The entries of everybody; those of each of *owners*, as texts."""
    texts: dict[int, list[str]] = {}
    for count, name in [*((count, str(count)) for count in owners), (OTHERS, "others")]:
        now = datetime.now(UTC)
        user, workspace = User(name, f"{name}@example.org", "hash", now), Workspace(name, name, name, "personal", now)
        await UserRepository(pool).create(user, workspace)
        written = [language.sentence() for _ in range(count)]
        # A few hundred vectors are enough for the others: making one takes longer than storing it.
        few = [_vector(text) for text in written[:500]] if name == "others" else []
        for start in range(0, count, 5_000):
            given = [
                {"uid": name, "n": n, "content": text, "embedding": few[n % 500] if few else _vector(text)}
                for n, text in enumerate(written[start : start + 5_000], start=start)
            ]
            async with pool.connection() as connection:
                await connection.execute(_INSERT.encode(), (embedder.NAME, msgspec.json.encode(given).decode()))
        if name != "others":
            texts[count] = written
    async with pool.connection() as connection:
        await connection.execute(b"CREATE INDEX plain_words ON memory_entries USING gin (words)")
        await connection.execute(b"VACUUM ANALYZE memory_entries", prepare=False)
        await connection.execute(b"VACUUM ANALYZE memory_terms", prepare=False)
    return texts


def _vector(text: str) -> list[float]:
    return [round(value, 4) for value in embedder.embed(text)]


async def timed(call: Callable[[str], Awaitable[object]], queries: Sequence[str]) -> tuple[float, float]:
    """The median and the 95th percentile in milliseconds; without the first, which are planned anew."""
    times = []
    for query in [*queries[:WARM], *queries]:
        begin = time.perf_counter()
        await call(query)
        times.append((time.perf_counter() - begin) * 1000)
    counted = times[WARM:]
    return statistics.median(counted), statistics.quantiles(counted, n=20)[-1]


async def search(memories: MemoriesRepository, owner: int, query: str, *, vectors: bool = True) -> MemoryHits:
    """As an agent's `memory_search` does it; or as where no vector can be had."""
    hits = await memories.search(
        Scope(str(owner), str(owner), datetime.now(UTC)),
        text=query,
        embedder=embedder.NAME,
        embedding=embedder.embed(query) if vectors else (),
        limit=50,
        least=embedder.LEAST_LIKENESS,
        stale=STALE,
    )
    fuse({"bm25": hits.by_words, "vector": hits.by_vector or ()})
    return hits


async def durations(pool: Pool, questions: Mapping[int, Mapping[str, list[str]]]) -> None:
    memories = MemoriesRepository(pool)
    heads = f"{'search p50':>12}{'p95':>9}{'words alone':>14}{'ranking all':>14}{'ratio':>8}"
    print(f"{'own entries':>12}  {'asked':<30}{heads}")
    for owner, kinds in questions.items():
        for kind, queries in kinds.items():

            async def plain(query: str, owner: int = owner) -> object:
                async with pool.connection() as connection:
                    return await rows(connection, _PLAIN, query, str(owner), str(owner))

            async def whole(query: str, owner: int = owner) -> object:
                return await search(memories, owner, query)

            async def words(query: str, owner: int = owner) -> object:
                return await search(memories, owner, query, vectors=False)

            p50, p95 = await timed(whole, queries)
            (listed, _), (ranked, _) = await timed(words, queries), await timed(plain, queries)
            print(
                f"{owner:>12,}  {kind:<30}{p50:>9.1f} ms{p95:>6.1f} ms{listed:>11.1f} ms{ranked:>11.1f} ms"
                f"{ranked / listed:>8.1f}"
            )


async def recall(pool: Pool, owner: int, kinds: Mapping[str, list[str]]) -> None:
    """Of the ten best by words, and by likeness, how many are found: beside a search that looks at everything."""
    memories, exact = MemoriesRepository(pool), MemoriesRepository(pool)
    exact.bounds = EVERYTHING
    print(f"\n{'own entries':>12}  {'asked':<30}{'ten best by words':>20}{'ten most alike':>17}")
    for kind, queries in kinds.items():
        words: list[float] = []
        alike: list[float] = []
        for query in queries[:12]:
            got, best = await search(memories, owner, query), await search(exact, owner, query)
            for share, found, all_of_it in (
                (words, got.by_words, best.by_words[:10]),
                (alike, got.by_vector or (), (best.by_vector or ())[:10]),
            ):
                if all_of_it:
                    ids = {entry.id for entry in found}
                    share.append(sum(entry.id in ids for entry in all_of_it) / len(all_of_it))
        shown = [f"{statistics.mean(share):.2f}" if share else "-" for share in (words, alike)]
        print(f"{owner:>12,}  {kind:<30}{shown[0]:>20}{shown[1]:>17}")


async def writes(pool: Pool, language: Language, owner: int) -> None:
    """One entry at a time, the lists kept and not kept in turn; the server does not wait for its disk."""
    print(f"\n{'words of the entry':>20}{'written':>12}{'without lists':>16}{'ratio':>8}")
    for words in (8, 60, 200):
        times: dict[bool, list[float]] = {True: [], False: []}
        for block in range(8):
            lists = block % 2 == 0
            async with pool.connection() as connection:
                switch = "ENABLE" if lists else "DISABLE"
                await connection.execute(f"ALTER TABLE memory_entries {switch} TRIGGER USER".encode())
                for number in range(30):
                    text = language.sentence(words)[:2000]
                    given = [{"uid": str(owner), "n": -(words * 1000 + block * 30 + number), "content": text}]
                    encoded = msgspec.json.encode([given[0] | {"embedding": _vector(text)}]).decode()
                    begin = time.perf_counter()
                    await connection.execute(_INSERT.encode(), (embedder.NAME, encoded))
                    if number >= 10:  # the first ones are planned anew
                        times[lists].append((time.perf_counter() - begin) * 1000)
        kept, bare = (statistics.median(times[lists]) for lists in (True, False))
        print(f"{words:>20}{kept:>9.2f} ms{bare:>13.2f} ms{kept / bare:>8.2f}")


async def measure(dsn: str, searches: int, largest: int) -> None:
    language = Language(random.Random(7))
    pool = Pool(dsn, min_size=1, max_size=2)
    await pool.open()
    owners = sorted({min(count, largest) for count in (1_000, 10_000, 100_000)})
    texts = await fill(pool, language, owners)
    questions = {owner: language.questions(searches, texts[owner]) for owner in owners}
    await durations(pool, questions)
    await recall(pool, owners[-1], questions[owners[-1]])
    await writes(pool, language, owners[-1])
    await pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--searches", type=int, default=40)
    parser.add_argument("--largest", type=int, default=100_000)
    arguments = parser.parse_args()
    server = TestServer()
    try:
        with server.database() as dsn:
            trio.run(measure, dsn, arguments.searches, arguments.largest)
    finally:
        server.close()


if __name__ == "__main__":
    main()
