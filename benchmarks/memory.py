"""What a search of memory costs by how much one person has, among 100,000 entries of others.

``python -m benchmarks.memory [--searches 40]`` starts a PostgreSQL of its own, fills it, and prints one table: the
whole search (embedding and fusing included), and what full text alone would take, which is the floor. Each entry has
words of its own, and each search shares words with one entry.
"""

import argparse
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
import trio

from tests.support.database import TestServer
from understudy.actors.memory import embedder
from understudy.actors.memory.ranking import STALE, fuse
from understudy.storage.memories import MemoriesRepository
from understudy.storage.memory_search import WINDOW
from understudy.storage.pool import Pool
from understudy.storage.records import User, Workspace
from understudy.storage.remembered import Scope
from understudy.storage.users import UserRepository

OWNERS = {"100": 100, "1,000": 1_000, "10,000": 10_000, "100,000": 100_000}
"""People, by how many entries they have, beside `OTHERS` of somebody else."""
OTHERS = 100_000
_INSERT = """
INSERT INTO memory_entries
    (id, workspace_id, uid, tier, day, category, content, weight, created_at, embedder, embedding)
SELECT 'mem_' || r.uid || r.n, r.uid, r.uid, 'daily', '2026-11-22', 'note', r.content, 1, now(), %s, r.embedding
FROM json_to_recordset(%s::json) AS r(uid text, n int, content text, embedding real[])
"""


async def fill(pool: Pool, rng: random.Random) -> dict[str, list[str]]:
    """The entries of everybody; those of each of `OWNERS`, as texts."""
    texts: dict[str, list[str]] = {}
    counts = {**OWNERS, "others": OTHERS}
    for name, count in counts.items():
        now = datetime.now(UTC)
        user, workspace = User(name, f"{name}@example.org", "hash", now), Workspace(name, name, name, "personal", now)
        await UserRepository(pool).create(user, workspace)
        texts[name] = [" ".join(f"word{rng.randrange(5_000)}" for _ in range(8)) for _ in range(count)]
        rounded = [[round(value, 4) for value in embedder.embed(text)] for text in texts[name][:500]]
        for start in range(0, count, 5_000):
            rows = [
                # A few hundred vectors are enough for the others: making one takes longer than storing it.
                {"uid": name, "n": n, "content": texts[name][n], "embedding": rounded[n % len(rounded)]}
                for n in range(start, min(start + 5_000, count))
            ]
            async with pool.connection() as connection:
                await connection.execute(_INSERT.encode(), (embedder.NAME, msgspec.json.encode(rows).decode()))
    async with pool.connection() as connection:
        await connection.execute(b"VACUUM ANALYZE memory_entries", prepare=False)
    return texts


async def timed(call: Callable[[str], Awaitable[object]], queries: list[str]) -> float:
    """The median in milliseconds."""
    times = []
    for query in queries:
        begin = time.perf_counter()
        await call(query)
        times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times)


async def measure(dsn: str, searches: int) -> None:
    rng = random.Random(7)
    pool = Pool(dsn, min_size=1, max_size=2)
    await pool.open()
    texts = await fill(pool, rng)
    memories = MemoriesRepository(pool)
    print(f"{'entries of the one who asks':<30}{'search':>12}{'words alone':>14}{'ratio':>8}")
    for owner in OWNERS:
        queries = [rng.choice(texts[owner]) for _ in range(searches)]

        async def search(query: str, owner: str = owner) -> object:
            hits = await memories.search(
                Scope(owner, owner, datetime.now(UTC)),
                text=query,
                embedder=embedder.NAME,
                embedding=embedder.embed(query),
                limit=50,
                least=embedder.LEAST_LIKENESS,
                stale=STALE,
            )
            return fuse({"bm25": hits.by_words, "vector": hits.by_vector or ()})

        async def words(query: str, owner: str = owner) -> object:
            async with pool.connection() as connection:
                asked = " | ".join(query.split())
                return await connection.execute(
                    b"SELECT content FROM memory_entries WHERE uid = %s AND workspace_id = %s"
                    b" AND words @@ to_tsquery('english', %s) ORDER BY ts_rank(words, to_tsquery('english', %s)) DESC"
                    b" LIMIT 50",
                    (owner, owner, asked, asked),
                )

        whole, floor = await timed(search, queries), await timed(words, queries)
        print(f"{owner:<30}{whole:>9.1f} ms{floor:>11.1f} ms{whole / floor:>8.1f}")
    print(f"ratio: to the floor; likeness is exact over the {WINDOW:,} newest entries of the one who asks")
    await pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--searches", type=int, default=40)
    arguments = parser.parse_args()
    server = TestServer()
    try:
        with server.database() as dsn:
            trio.run(measure, dsn, arguments.searches)
    finally:
        server.close()


if __name__ == "__main__":
    main()
