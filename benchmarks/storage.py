"""PostgreSQL from trio: our connection and journal beside psycopg in threads, on one embedded server, in one run.

    python benchmarks/storage.py [--seconds 2]

The peer does the same work the way a trio program would without us: `psycopg.Connection` through `trio.to_thread`, one
transaction per write. Ratios are what counts; absolute figures are this machine's.
"""

import argparse
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import psycopg
import trio

from understudy.actors.store.tree import storage_tree
from understudy.actors.store.writer import JournalWriter
from understudy.runtime import ActorSystem
from understudy.storage.batch import Batch
from understudy.storage.connection import Connection
from understudy.storage.entries import Entry, EventsAppended, TurnClosed, TurnOpened
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.records import (
    IdempotencyKey,
    Message,
    Role,
    RunEvent,
    Session,
    SessionKey,
    TurnStatus,
    Usage,
    User,
    Workspace,
    new_id,
)
from understudy.storage.repositories import Repositories

CALLERS = (1, 16, 200)


def now() -> datetime:
    return datetime.now(UTC)


@attrs.define
class Talk:
    """One conversation that writes turns: opened with a key, four events, closed with an answer."""

    session: Session
    seq: int = 0

    def turn(self) -> Sequence[tuple[Entry, ...]]:
        session, turn = self.session, new_id("trn")
        question = Message(new_id("msg"), session.id, turn, Role.USER, "What is the answer? " * 4, now())
        answer = Message(new_id("msg"), session.id, turn, Role.ASSISTANT, "Forty-two, of course. " * 10, now())
        key = IdempotencyKey("usr:POST /agent/chat", new_id("key"), b"x" * 32)
        first = self.seq
        events = []
        for _ in range(4):
            self.seq += 1
            events.append(RunEvent(session.id, self.seq, turn, "token", {"text": "Forty-two, of course. "}, now()))
        return (
            (TurnOpened(session.epoch, turn, session.id, first, now(), question, key),),
            (EventsAppended(session.epoch, session.id, tuple(events)),),
            (
                TurnClosed(
                    session.epoch,
                    turn,
                    session.id,
                    TurnStatus.COMPLETED,
                    now(),
                    answer.content,
                    answer,
                    "m",
                    (),
                    Usage(10, 20),
                ),
            ),
        )


async def rate(seconds: float, work: Callable[[], Awaitable[int]], callers: int) -> tuple[float, float]:
    """(units per second, median seconds of one call) of *callers* tasks doing *work* over and over."""
    done, latencies = 0, []
    end = time.perf_counter() + seconds

    async def call() -> None:
        nonlocal done
        while (began := time.perf_counter()) < end:
            finished = await work()  # not `done += await`: that would forget what others add meanwhile
            done += finished
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(call)
    elapsed = time.perf_counter() - began
    return done / elapsed, sorted(latencies)[len(latencies) // 2]


async def queries(dsn: str, seconds: float) -> None:
    connection = await Connection.connect(dsn, autocommit=True, prepare_threshold=0)
    peer = await trio.to_thread.run_sync(lambda: psycopg.connect(dsn, autocommit=True, prepare_threshold=0))

    async def ours() -> int:
        await (await connection.execute("SELECT 1")).fetchone()
        return 1

    async def bare() -> int:
        await connection.call(b"SELECT 1")
        return 1

    async def theirs() -> int:
        await trio.to_thread.run_sync(lambda: peer.execute("SELECT 1").fetchone())
        return 1

    results = {}
    for name, work in (("trio", ours), ("trio, prepared call", bare), ("psycopg in threads", theirs)):
        results[name] = (await rate(seconds, work, 1))[0]
    print("\nqueries/s, one connection, unix socket")
    for name, value in results.items():
        print(f"  {name:<22} {value:>9,.0f}   {value / results['psycopg in threads']:.2f}x")
    await connection.close()
    peer.close()


async def writes(system: ActorSystem, pool: Pool, talks: Sequence[Talk], seconds: float) -> None:
    writer, free = JournalWriter(system, timeout=30.0), list(talks)

    async def ours() -> int:
        talk = free.pop()
        groups = talk.turn()
        for group in groups:
            await writer.write(*group)
        free.append(talk)
        return len(groups)

    connections = [psycopg.connect(pool.conninfo, autocommit=True, prepare_threshold=0) for _ in range(8)]
    idle, lock = list(connections), trio.Semaphore(len(connections))

    def one(connection: psycopg.Connection[Any], group: tuple[Entry, ...]) -> None:
        arguments = [None if x is None else x.decode() for x in Batch([group]).arguments()]
        connection.execute(_STATEMENT, arguments)

    async def theirs() -> int:
        talk = free.pop()
        groups = talk.turn()
        for group in groups:
            async with lock:
                connection = idle.pop()
                await trio.to_thread.run_sync(one, connection, group)
                idle.append(connection)
        free.append(talk)
        return len(groups)

    print("\ngroups/s (a turn is three groups; every answer after its commit, synchronous_commit = on)")
    print(f"  {'callers':>7}  {'journal':>9}  {'per group':>10}  {'CPU/group':>10}  {'threads':>9}  {'ratio':>6}")
    for callers in CALLERS:
        cpu = time.process_time()
        mine, latency = await rate(seconds, ours, callers)
        cpu = (time.process_time() - cpu) / max(1.0, mine * seconds)
        peer, _ = await rate(seconds, theirs, callers)
        print(
            f"  {callers:>7}  {mine:>9,.0f}  {latency / 3 * 1e3:>7.2f} ms  {cpu * 1e6:>7.0f} µs  {peer:>9,.0f}"
            f"  {mine / peer:>5.1f}x"
        )
    for connection in connections:
        connection.close()


async def lone_group(pool: Pool, talk: Talk) -> None:
    journal, latencies = Journal(pool), []
    for _ in range(300):
        for group in talk.turn():
            began = time.perf_counter()
            await journal.write([group])
            latencies.append(time.perf_counter() - began)
    latencies.sort()
    print(f"\nlone group, journal without its actor: median {latencies[len(latencies) // 2] * 1e3:.2f} ms")
    batch = [group for _ in range(100) for group in talk.turn()]
    began = time.perf_counter()
    Batch(batch).arguments()
    print(f"encoding in Python: {(time.perf_counter() - began) / len(batch) * 1e6:.1f} µs per group")


_STATEMENT = b"SELECT fenced, taken FROM journal_write(" + b", ".join([b"%s::json"] * 10) + b")"


async def main(seconds: float, directory: Path) -> None:
    pool = Pool("", max_size=16)
    async with ActorSystem("benchmark") as system:
        began = time.perf_counter()
        await system.spawn(storage_tree(pool, directory))
        print(f"embedded server made, started and migrated in {time.perf_counter() - began:.2f} s")
        stores = Repositories.on(pool)
        user = User(new_id("usr"), "bench@example.org", "hash", now())
        workspace = Workspace(new_id("ws"), "Bench", user.id, "personal", now())
        await stores.users.create(user, workspace)
        talks = []
        for number in range(max(CALLERS)):
            opened, _ = await stores.sessions.open(SessionKey(workspace.id, user.id, "a", "chat", str(number)), now())
            claimed = await stores.sessions.claim(opened.id)
            assert claimed is not None
            talks.append(Talk(claimed))
        await queries(pool.conninfo, seconds)
        await lone_group(pool, talks[0])
        await writes(system, pool, talks, seconds)
        await system.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--data", type=Path, default=None, help="a directory on the disk to measure (default: .bench)")
    chosen = parser.parse_args()
    place = chosen.data or Path(".bench").resolve()
    place.mkdir(exist_ok=True)
    place.chmod(0o755)
    try:
        trio.run(main, chosen.seconds, place)
    finally:
        shutil.rmtree(place)
