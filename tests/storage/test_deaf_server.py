"""A server that hangs: it refuses nothing and answers nobody, as a stopped process or a network that swallows all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from understudy.actors.store.database import DatabaseActor, Lifetime
from understudy.runtime import ActorSystem, ChildSpec
from understudy.storage.errors import StoreUnavailable
from understudy.storage.listening import listening
from understudy.storage.pool import Pool
from understudy.storage.probe import Probe
from understudy.storage.repository import Repository


@attrs.define(eq=False)
class Way:
    """Between a client and the server: while it is ``shut`` nothing comes through, and nobody is told so."""

    dsn: str = ""
    opened: trio.Event = attrs.field(factory=trio.Event)

    def shut(self) -> None:
        self.opened = trio.Event()

    async def carry(self, source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
        try:
            async for piece in source:
                await self.opened.wait()
                await sink.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(sink)


@asynccontextmanager
async def way_to(dsn: str, folder: Path) -> AsyncIterator[Way]:
    parts = conninfo_to_dict(dsn)
    server = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
    way = Way(make_conninfo("", **{**parts, "host": str(folder), "port": 5432}))
    way.opened.set()

    async def serve(client: trio.SocketStream) -> None:
        async with client, await trio.open_unix_socket(server) as there, trio.open_nursery() as both:
            both.start_soon(way.carry, client, there)
            both.start_soon(way.carry, there, client)

    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(str(folder / ".s.PGSQL.5432"))
    listening.listen(50)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(listening)])
        yield way
        nursery.cancel_scope.cancel()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("way")


async def test_whoever_waits_for_a_server_that_hangs_is_told_and_is_served_again_when_it_answers(
    pg_dsn: str, folder: Path
) -> None:
    async with way_to(pg_dsn, folder) as way:
        pool = Pool(way.dsn, min_size=0, max_size=4)
        await pool.open()
        store = Repository(pool)
        assert await store._row("SELECT 1") == (1,)
        told: list[str] = []

        async def ask() -> None:
            with pytest.raises(StoreUnavailable) as refused:
                await store._row("SELECT 2")
            told.append(str(refused.value))

        way.shut()
        pool.timeout = 0.3
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            with pytest.raises(StoreUnavailable):
                await pool.ping(0.2)
            assert await pool.cut_if_deaf(0.2)
        assert len(told) == 3
        way.opened.set()
        while True:
            try:
                assert await store._row("SELECT 3") == (3,)
                break
            except StoreUnavailable:
                await trio.sleep(0.01)
        await pool.close()


async def test_a_server_that_answers_something_is_not_cut_off(pg_dsn: str) -> None:
    pool = Pool(pg_dsn, min_size=0, max_size=1)
    await pool.open()
    async with pool.connection() as connection:
        for conninfo in (pg_dsn, make_conninfo(pg_dsn, dbname="nowhere"), make_conninfo(pg_dsn, port=1)):
            pool.conninfo = conninfo
            assert not await pool.cut_if_deaf(30)
        cursor = await connection.execute(b"SELECT 1")
        assert await cursor.fetchone() == (1,)
    await pool.close()


async def test_the_pools_keeper_notices_by_itself(pg_dsn: str, folder: Path) -> None:
    async with way_to(pg_dsn, folder) as way, ActorSystem("test") as system:
        pool = Pool(way.dsn, min_size=1, max_size=2)
        args = (pool, lambda: None, Lifetime(migrated=True), print)
        await system.spawn(ChildSpec("database", DatabaseActor, args=args, kwargs={"patience": 0.2}))
        async with pool.connection() as connection:
            way.shut()
            with pytest.raises(psycopg.OperationalError, match="closed"):
                await connection.execute(b"SELECT 1")
        way.opened.set()
        await system.stop()


async def test_a_look_at_a_server_that_hangs_takes_no_longer_than_it_may(pg_dsn: str, folder: Path) -> None:
    async with way_to(pg_dsn, folder) as way:
        pool = Pool(way.dsn, min_size=0, max_size=2)
        await pool.open()
        probe = Probe(pool)
        await probe.ping()
        way.shut()
        with trio.move_on_after(60) as patience:  # no cancellation is needed, whose confirmation would be waited for
            with pytest.raises(StoreUnavailable):
                await probe.ping(0.2)
        assert not patience.cancelled_caught
        await pool.close()
        way.opened.set()


async def test_whoever_listens_notices_that_nothing_comes_through_any_more(pg_dsn: str, folder: Path) -> None:
    async with way_to(pg_dsn, folder) as way:
        pool = Pool(way.dsn, min_size=0, max_size=2)
        await pool.open()
        async with listening(pool, "news") as heard:
            assert await heard(0.2) == ()
            async with pool.connection() as connection:
                await connection.execute(b"NOTIFY news, 'one'")
            assert await heard(60) == ("one",)
            way.shut()
            with pytest.raises(StoreUnavailable, match="does not answer"):
                await heard(0.2)
        await pool.close()
        way.opened.set()
