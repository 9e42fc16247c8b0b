"""Lines of the audit log: none is lost while the database comes and goes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.writing import DirectWriter
from understudy.actors.audit.actor import audit_spec
from understudy.actors.audit.messages import AUDIT, AuditEntry, Record, RecordNow
from understudy.actors.errors import Unavailable
from understudy.runtime import ActorSystem
from understudy.storage.entries import Entry
from understudy.storage.errors import StoreUnavailable, Unstorable
from understudy.storage.journal import Journal
from understudy.storage.memory import MemoryStore
from understudy.storage.pool import Pool
from understudy.storage.repositories import Repositories


def line(number: int, event: str = "tool.executed") -> AuditEntry:
    return AuditEntry(f"aud_{number}", event, "low", datetime(2026, 3, 1, 8, tzinfo=UTC), uid="usr_1")


class Shelf:
    """A writer that can be away, and that finds some lines unfit."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.away = False
        self.changed = trio.Event()

    async def write(self, *entries: Entry) -> None:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise StoreUnavailable(retry_after=0.01)
        group = [entry.entry for entry in entries]  # type: ignore[union-attr]  # audit writes nothing else
        if any(entry.event == "unfit" for entry in group):
            raise Unstorable("no such severity")
        self.groups.append([entry.id for entry in group])
        self.changed.set()
        self.changed = trio.Event()

    @property
    def ids(self) -> list[str]:
        return [name for group in self.groups for name in group]

    async def wait_for(self, count: int) -> None:
        with trio.fail_after(30):
            while len(self.ids) < count:
                await self.changed.wait()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def system(shelf: Shelf) -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test") as system:
        await system.spawn(audit_spec(shelf, MemoryStore().audit))
        yield system


async def test_lines_are_written_in_order_and_together(system: ActorSystem, shelf: Shelf) -> None:
    for number in range(500):
        system.tell(AUDIT, Record(line(number)))
    await shelf.wait_for(500)
    assert shelf.ids == [f"aud_{number}" for number in range(500)]
    assert len(shelf.groups) < 10


async def test_lines_wait_for_a_database_that_is_away(system: ActorSystem, shelf: Shelf) -> None:
    shelf.away = True
    for number in range(5):
        system.tell(AUDIT, Record(line(number)))
    with pytest.raises(Unavailable):
        await system.ask(AUDIT, RecordNow(line(99)))
    assert shelf.ids == []
    shelf.away = False
    await shelf.wait_for(5)
    assert shelf.ids == [f"aud_{number}" for number in range(5)]


async def test_one_line_that_cannot_be_stored_does_not_take_the_others_with_it(
    system: ActorSystem, shelf: Shelf
) -> None:
    for number in range(6):
        system.tell(AUDIT, Record(line(number, "unfit" if number == 2 else "tool.executed")))
    await shelf.wait_for(5)
    assert shelf.ids == ["aud_0", "aud_1", "aud_3", "aud_4", "aud_5"]
    assert (await system.inspect(AUDIT))["dropped"] == 1


async def test_a_line_asked_for_is_written_when_it_is_answered(system: ActorSystem, shelf: Shelf) -> None:
    await system.ask(AUDIT, RecordNow(line(1)))
    assert shelf.ids == ["aud_1"]


async def test_a_node_that_stops_writes_what_still_waits(shelf: Shelf) -> None:
    with trio.fail_after(30):
        async with ActorSystem("test") as system:
            await system.spawn(audit_spec(shelf, MemoryStore().audit))
            shelf.away = True
            for number in range(300):
                system.tell(AUDIT, Record(line(number)))
            await wait_all_tasks_blocked()
            shelf.away = False
    assert shelf.ids == [f"aud_{number}" for number in range(300)]


async def test_after_a_kill_new_lines_are_written_again(system: ActorSystem, shelf: Shelf) -> None:
    shelf.away = True
    system.tell(AUDIT, Record(line(1)))
    while (await system.inspect(AUDIT)).get("waiting") != 1:
        await trio.lowlevel.checkpoint()
    await system.kill(AUDIT)
    shelf.away = False
    await system.ask(AUDIT, RecordNow(line(2)))
    system.tell(AUDIT, Record(line(3)))
    await shelf.wait_for(2)
    assert shelf.ids == ["aud_2", "aud_3"]


async def test_in_the_real_log_every_line_fits_the_one_before(pool: Pool) -> None:
    store = Repositories.on(pool)
    with trio.fail_after(30):
        async with ActorSystem("test") as system:
            await system.spawn(audit_spec(DirectWriter(Journal(pool)), store.audit))
            for number in range(20):
                system.tell(AUDIT, Record(line(number)))
            await system.ask(AUDIT, RecordNow(line(20)))
    verdict = await store.audit.verify()
    assert (verdict.entries, verdict.broken_at) == (21, None)
    assert len(await store.audit.of_user("usr_1")) == 21
