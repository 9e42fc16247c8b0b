"""The storage branch alive, on its own embedded server: killed in every place, and losing nothing."""

import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio
from psycopg.conninfo import make_conninfo

from tests.support.storage import START, Store, closed, events, key, opened
from understudy.actors.errors import Unavailable
from understudy.actors.store.journal import JournalActor
from understudy.actors.store.messages import DATABASE, HOUSEKEEPER, JOURNAL, OUTBOX, POSTGRES, Ping, Status, Write
from understudy.actors.store.outbox import Consumer
from understudy.actors.store.tree import storage_tree
from understudy.actors.store.writer import JournalWriter
from understudy.runtime import ActorCrashed, ActorSystem, ChildSpec, SupervisorSpec
from understudy.storage.entries import Published
from understudy.storage.errors import DataDirectoryInUse, Fenced, StoreConflict, StoreUnavailable
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.postmaster import live_postmaster
from understudy.storage.records import OutboxItem, new_id
from understudy.storage.repositories import Repositories


@attrs.frozen
class Branch:
    """A running storage branch."""

    system: ActorSystem
    pool: Pool
    store: Store
    writer: JournalWriter
    data_dir: Path
    delivered: list[OutboxItem]

    @property
    def server_pid(self) -> int:
        postmaster = live_postmaster(self.data_dir / "postgres")
        assert postmaster is not None
        return postmaster.pid


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[Branch]:
    pool = Pool("", max_size=8)
    delivered: list[OutboxItem] = []

    async def consume(item: OutboxItem) -> None:
        delivered.append(item)

    async with ActorSystem("test") as system:
        await system.spawn(storage_tree(pool, data_dir, consumers=(Consumer("test", {"turn.done"}, consume),)))
        store = Store(Repositories.on(pool), Journal(pool))
        # Who waits for a server that comes back is not told how slowly it does.
        yield Branch(system, pool, store, JournalWriter(system, timeout=60), data_dir, delivered)
        with trio.fail_after(30):
            await system.stop()
    assert live_postmaster(data_dir / "postgres") is None
    assert pool.statistics().size == 0, "no connection leaked"


async def test_a_fresh_branch_serves_reads_and_writes_and_says_that_it_is_up(data_dir: Path) -> None:
    with trio.fail_after(110):
        async with running(data_dir) as branch:
            session = await branch.store.session()
            begin = opened(session)
            await branch.writer.write(begin)
            await branch.writer.write(events(session, 1, 2), closed(session, begin.turn_id))
            assert len(await branch.store.repositories.sessions.messages(session.id)) == 2
            assert 0 < await branch.system.ask(DATABASE, Ping()) < 5
            status = await branch.system.ask(DATABASE, Status())
            assert (status.up, status.error) == (True, None)


async def test_writes_of_many_callers_share_commits(data_dir: Path) -> None:
    with trio.fail_after(110):
        async with running(data_dir) as branch:
            session = await branch.store.session()
            async with trio.open_nursery() as nursery:
                for number in range(1, 201):
                    nursery.start_soon(branch.writer.write, events(session, number))
            seen = await branch.system.inspect(JOURNAL)
            assert len(await branch.store.repositories.sessions.events(session.id, 0, 500)) == 200
            snapshot = seen.get("snapshot", seen)
            assert isinstance(snapshot, dict)
            assert snapshot["groups"] == 200
            assert snapshot["commits"] < 50


async def test_published_facts_reach_their_consumer_and_leave_the_outbox(data_dir: Path) -> None:
    with trio.fail_after(110):
        async with running(data_dir) as branch:
            while not await listeners(branch.pool):  # else they wait for its next look
                await trio.sleep(0.01)
            await branch.writer.write(
                Published("out_1", "turn.done", None, b"one", START),
                Published("out_2", "nobody.cares", None, b"", START),
            )
            while not branch.delivered:
                await trio.sleep(0.05)
            assert [(item.id, item.payload) for item in branch.delivered] == [("out_1", b"one")]


@pytest.mark.parametrize("address", [POSTGRES, DATABASE, JOURNAL, OUTBOX, HOUSEKEEPER])
async def test_killing_one_actor_under_load_loses_no_acknowledged_write(data_dir: Path, address: str) -> None:
    with trio.fail_after(90):
        async with running(data_dir) as branch:
            session = await branch.store.session()
            server = branch.server_pid
            acknowledged = await write_while(branch, session_id=session.id, kills=[address] * 5)
            stored = await branch.store.repositories.sessions.events(session.id, 0, 10_000)
            assert acknowledged <= {event.seq for event in stored}
            assert len(acknowledged) == 300
            assert branch.server_pid == server, "killing an actor does not restart the server"


async def write_while(branch: Branch, *, session_id: str, kills: list[str]) -> set[int]:
    """Thirty writers of ten events each, while the actors named are killed one after the other."""
    session = await branch.store.repositories.sessions.load(session_id)
    assert session is not None
    acknowledged: set[int] = set()

    async def write(first: int) -> None:
        for number in range(first, first + 10):
            await branch.writer.write(events(session, number))
            acknowledged.add(number)

    async with trio.open_nursery() as nursery:
        for first in range(1, 300, 10):
            nursery.start_soon(write, first)
        for address in kills:
            await branch.system.kill(address)
            await trio.sleep(0.02)
    return acknowledged


async def test_killing_actors_at_random_under_load_loses_no_acknowledged_write(data_dir: Path) -> None:
    rng = random.Random(2)
    with trio.fail_after(90):
        async with running(data_dir) as branch:
            session = await branch.store.session()
            names = [POSTGRES, DATABASE, JOURNAL, OUTBOX, HOUSEKEEPER]
            acknowledged = await write_while(branch, session_id=session.id, kills=rng.choices(names, k=25))
            stored = await branch.store.repositories.sessions.events(session.id, 0, 10_000)
            assert acknowledged <= {event.seq for event in stored}
            assert len(acknowledged) == 300


async def test_a_killed_server_process_is_started_again_and_writers_only_wait(data_dir: Path) -> None:
    with trio.fail_after(90):
        async with running(data_dir) as branch:
            session = await branch.store.session()
            await branch.writer.write(events(session, 1))
            before = branch.server_pid
            os.kill(before, signal.SIGKILL)
            await branch.writer.write(events(session, 2))
            while (now := live_postmaster(data_dir / "postgres")) is None or now.pid == before or now.status != "ready":
                await trio.sleep(0.02)
            await branch.writer.write(events(session, 3))
            stored = await branch.store.repositories.sessions.events(session.id, 0, 10)
            assert [event.seq for event in stored] == [1, 2, 3]


async def test_a_stopped_server_makes_reads_and_writes_unavailable_until_it_is_back(data_dir: Path) -> None:
    with trio.fail_after(90):
        async with running(data_dir) as branch:
            session = await branch.store.session()
            server = branch.server_pid
            os.kill(server, signal.SIGSTOP)
            backends = [
                int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and parent(path) == server
            ]
            for backend in backends:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(backend, signal.SIGSTOP)
            try:
                impatient = JournalWriter(branch.system, timeout=0.5)
                with pytest.raises(StoreUnavailable):
                    await impatient.write(events(session, 1))
                with pytest.raises(Unavailable):
                    await branch.system.ask(DATABASE, Ping())
                while (await branch.system.ask(DATABASE, Status())).up:
                    await trio.sleep(0.1)
            finally:
                for stopped in [server, *backends]:
                    with suppress(ProcessLookupError):
                        os.kill(stopped, signal.SIGCONT)
            await branch.writer.write(events(session, 2))
            while not (await branch.system.ask(DATABASE, Status())).up:
                await trio.sleep(0.1)
            assert await branch.system.ask(DATABASE, Ping()) < 5


def parent(proc: Path) -> int:
    try:
        return int((proc / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


async def test_a_branch_on_a_server_of_ones_own_has_no_server_below_it(pg_dsn: str, tmp_path: Path) -> None:
    pool = Pool("", max_size=4)
    with trio.fail_after(30):
        async with ActorSystem("test") as system:
            await system.spawn(storage_tree(pool, tmp_path / "unused", pg_dsn))
            assert system.whereis(POSTGRES) is None
            assert not (tmp_path / "unused").exists()
            session = await Store(Repositories.on(pool), Journal(pool)).session()
            writer = JournalWriter(system)
            begin = opened(session, idempotency=key())
            await writer.write(begin)
            with pytest.raises(StoreConflict):
                await writer.write(opened(session, idempotency=key()))
            with pytest.raises(Fenced):
                await writer.write(attrs.evolve(events(session, 1), epoch=session.epoch - 1))
            await system.stop()
    assert pool.statistics().size == 0


async def test_a_server_that_refuses_us_ends_the_start_at_once_and_says_why(pg_dsn: str, tmp_path: Path) -> None:
    wrong = make_conninfo(pg_dsn, dbname="no_such_database")
    with trio.fail_after(30):
        async with ActorSystem("test") as system:
            with pytest.raises(ActorCrashed) as refused:
                await system.spawn(storage_tree(Pool("", max_size=4), tmp_path, wrong))
    causes: list[BaseException] = [refused.value]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    assert any('"no_such_database" does not exist' in str(cause) for cause in causes)


async def test_a_journal_with_too_much_waiting_refuses_more(pool: Pool) -> None:
    with trio.fail_after(20):
        async with ActorSystem("test") as system:
            journal = ChildSpec("journal", JournalActor, args=(Journal(pool),), kwargs={"limit": 3})
            await system.spawn(SupervisorSpec("storage", children=[journal]))
            fact = Published("out_1", "t", None, b"", START)
            outcomes: list[object] = []

            async def ask() -> None:
                outcomes.append(await system.ask(JOURNAL, Write((fact,))))

            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(ask)
            refused = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
            assert len(outcomes) == 50
            assert 0 < len(refused) < 50
            await system.stop()


async def listeners(pool: Pool) -> int:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"
        )
        row = await cursor.fetchone()
        return int(row[0]) if row else 0


async def test_a_hint_from_the_database_wakes_the_outbox_before_its_next_look(pg_dsn: str, tmp_path: Path) -> None:
    pool, delivered = Pool("", max_size=4), trio.Event()

    async def consume(item: OutboxItem) -> None:
        del item
        delivered.set()

    with trio.fail_after(30):
        async with ActorSystem("test") as system:
            await system.spawn(
                storage_tree(pool, tmp_path, pg_dsn, consumers=(Consumer("test", {"turn.done"}, consume),))
            )
            while not await listeners(pool):
                await trio.sleep(0.01)
            began = trio.current_time()
            await JournalWriter(system).write(Published("out_1", "turn.done", None, b"", START))
            await delivered.wait()
            assert trio.current_time() - began < 4  # the next look is at 5 s
            await system.stop()


async def test_a_second_branch_on_the_same_directory_does_not_start_and_says_why(data_dir: Path) -> None:
    with trio.fail_after(110):
        async with running(data_dir):
            async with ActorSystem("second") as second:
                with pytest.raises(ActorCrashed) as refused:
                    await second.spawn(storage_tree(Pool(""), data_dir))
            causes: list[BaseException] = [refused.value]
            while (cause := causes[-1].__cause__) is not None:
                causes.append(cause)
            assert any(isinstance(cause, DataDirectoryInUse) for cause in causes)


async def test_the_writer_gives_up_after_its_bound_when_there_is_no_journal() -> None:
    async with ActorSystem("empty") as system:
        with trio.fail_after(30), pytest.raises(StoreUnavailable):
            await JournalWriter(system, timeout=0.2).write(Published(new_id("out"), "t", None, b"", START))
