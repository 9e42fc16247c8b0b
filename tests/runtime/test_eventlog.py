"""Rule 20: every reader sees each event exactly once, in order, wherever it starts and however slow it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from tests.support.kernel import Counter, Crash
from understudy.runtime import (
    ActorCrashed,
    ActorSystem,
    Ask,
    Backoff,
    ChildSpec,
    DynamicSpec,
    EventLog,
    FutureSequence,
    Lagged,
    LogDetached,
    NoEvents,
    Numbered,
    Reader,
    receive,
)
from understudy.runtime.testing import open_system, run


class Store:
    """Keeps events as a database would: beyond any ring and any incarnation."""

    def __init__(self) -> None:
        self.kept: list[Numbered[int]] = []
        self.pages = 0

    async def page(self, after: int, limit: int) -> Sequence[Numbered[int]]:
        self.pages += 1
        await trio.sleep(0.01)
        return [item for item in self.kept if item.seq > after][:limit]


def stored(store: Store, ring: int = 4) -> EventLog[int]:
    return EventLog(last_seq=len(store.kept), ring=ring, history=store.page)


def add(log: EventLog[int], store: Store | None = None) -> None:
    number = log.last_seq + 1
    if store is not None:
        store.kept.append(Numbered(number, number))
    log.append(number)


async def collect(log: EventLog[int], after: int, into: list[object], pause: float = 0.0) -> None:
    async with log.subscribe(after) as reader:
        async for item in reader:
            into.append(item)
            if pause:
                await trio.sleep(pause)


async def test_readers_see_what_follows_their_place_and_end_when_the_log_is_closed() -> None:
    log: EventLog[int] = EventLog(ring=100)
    for _ in range(5):
        add(log)
    everything: list[object] = []
    later: list[object] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, log, 0, everything)
        nursery.start_soon(collect, log, 3, later)
        await wait_all_tasks_blocked()
        assert log.readers == 2
        for _ in range(5):
            add(log)
        log.close()
    assert everything == [Numbered(n, n) for n in range(1, 11)]
    assert later == [Numbered(n, n) for n in range(4, 11)]
    assert log.readers == 0


async def test_a_slow_reader_never_slows_the_writer_and_without_history_is_told_what_it_missed() -> None:
    log: EventLog[int] = EventLog(ring=4)
    seen: list[object] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, log, 0, seen, 10.0)
        await wait_all_tasks_blocked()
        add(log)
        await trio.sleep(1)
        for _ in range(20):
            add(log)  # never waits
        assert trio.current_time() == 1
        log.close()
    assert seen == [Numbered(1, 1), Lagged(16), *[Numbered(n, n) for n in range(18, 22)]]


async def test_a_slow_reader_with_history_is_told_and_then_misses_nothing() -> None:
    store = Store()
    log = stored(store)
    seen: list[object] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, log, 0, seen, 1.0)
        await wait_all_tasks_blocked()
        for _ in range(3):
            add(log, store)
        await trio.sleep(1.5)
        for _ in range(20):
            add(log, store)
        log.close()
    lagged = [item for item in seen if isinstance(item, Lagged)]
    assert lagged
    assert [item for item in seen if isinstance(item, Numbered)] == [Numbered(n, n) for n in range(1, 24)]


async def test_a_reader_may_start_from_before_the_ring_without_being_called_slow() -> None:
    store = Store()
    log = stored(store)
    for _ in range(600):
        add(log, store)
    log.close()
    seen: list[object] = []
    await collect(log, 7, seen)
    assert seen == [Numbered(n, n) for n in range(8, 601)]
    assert store.pages == 3


async def test_what_the_history_has_lost_is_named_and_the_rest_follows() -> None:
    store = Store()
    log = stored(store)
    for _ in range(20):
        add(log, store)
    del store.kept[:5]
    log.close()
    seen: list[object] = []
    await collect(log, 0, seen)
    assert seen == [Lagged(5), *[Numbered(n, n) for n in range(6, 21)]]


async def test_a_reader_from_the_future_is_refused() -> None:
    log: EventLog[int] = EventLog(last_seq=5)
    with pytest.raises(FutureSequence):
        log.subscribe(6)


async def test_only_the_next_number_may_be_published() -> None:
    log: EventLog[int] = EventLog(last_seq=5)
    log.publish(Numbered(6, 0))
    for seq in (6, 8):
        with pytest.raises(ValueError, match="cannot follow"):
            log.publish(Numbered(seq, 0))
    log.close()
    with pytest.raises(ValueError, match="closed"):
        log.append(0)


async def test_the_owner_is_told_how_many_read() -> None:
    log: EventLog[int] = EventLog()
    counts: list[int] = []
    log.on_readers(counts.append)
    async with log.subscribe(), log.subscribe():
        pass
    assert counts == [1, 2, 1, 0]


async def test_a_cancelled_read_consumes_nothing() -> None:
    log: EventLog[int] = EventLog()
    async with log.subscribe() as reader:
        with trio.move_on_after(1):
            await reader.__anext__()
        add(log)
        assert await reader.__anext__() == Numbered(1, 1)


async def test_what_is_at_hand_can_be_taken_in_one_go() -> None:
    log: EventLog[int] = EventLog()
    for _ in range(3):
        add(log)
    async with log.subscribe(1) as reader:
        assert [reader.take_ready() for _ in range(3)] == [Numbered(2, 2), Numbered(3, 3), None]


async def test_a_detached_log_lets_its_readers_see_what_they_have_and_then_go() -> None:
    log: EventLog[int] = EventLog()
    async with log.subscribe() as reader:
        add(log)
        log.detach()
        assert await reader.__anext__() == Numbered(1, 1)
        with pytest.raises(LogDetached):
            await reader.__anext__()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.just(0), st.integers(1, 9)),
        st.tuples(st.just("read"), st.integers(0, 2), st.integers(1, 12)),
        st.tuples(st.just("leave"), st.integers(0, 2), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(script=steps, ring=st.integers(1, 8))
def test_any_pattern_of_leaving_and_coming_back_sees_each_event_once_in_order(
    script: list[tuple[str, int, int]], ring: int
) -> None:
    async def scenario() -> None:
        store = Store()
        log = stored(store, ring)
        seen: list[list[int]] = [[], [], []]
        readers: dict[int, Reader[int]] = {}
        for step, who, count in script:
            match step:
                case "write":
                    for _ in range(count):
                        add(log, store)
                case "leave":
                    reader = readers.pop(who, None)
                    if reader is not None:
                        await reader.__aexit__()
                case _:
                    if who not in readers:
                        readers[who] = await log.subscribe(seen[who][-1] if seen[who] else 0).__aenter__()
                    for _ in range(count):
                        with trio.move_on_after(1) as scope:
                            item = await readers[who].__anext__()
                        if scope.cancelled_caught:
                            break
                        if isinstance(item, Numbered):
                            seen[who].append(item.seq)
        for numbers in seen:
            assert numbers == list(range(1, len(numbers) + 1))

    run(scenario)


# -- through the system: subscriptions outlive incarnations


@attrs.frozen
class Publish(Ask[int]):
    pass


@attrs.frozen
class CloseLog:
    pass


class Publisher(Counter):
    idle_after: ClassVar[float | None] = 5.0

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store

    async def started(self) -> None:
        await trio.sleep(0.01)
        self.events = stored(self.store, ring=3)

    def log(self) -> EventLog[int]:
        assert self.events is not None
        return self.events

    @receive
    def publish(self, message: Publish) -> int:
        add(self.log(), self.store)
        return self.log().last_seq

    @receive
    def close_log(self, message: CloseLog) -> None:
        self.log().close()


async def publishers(system: ActorSystem, store: Store) -> None:
    backoff = Backoff(base=0.1)
    await system.spawn(
        DynamicSpec(
            "d",
            "p",
            lambda key: ChildSpec(key, Publisher, args=(store,), poison_after=10**6),
            max_restarts=10**6,
            backoff=backoff,
        )
    )


async def test_a_subscription_survives_crash_kill_and_restart(system: ActorSystem) -> None:
    await publishers(system, Store())
    seen: list[int] = []

    async def read() -> None:
        async with system.subscribe("p/1") as events:
            async for item in events:
                if isinstance(item, Numbered):
                    seen.append(item.seq)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for round_ in range(12):
            await system.ask("p/1", Publish())
            if round_ % 4 == 1:
                with pytest.raises(ActorCrashed):
                    await system.ask("p/1", Crash())
            elif round_ % 4 == 2:
                await system.kill("p/1")
            elif round_ % 4 == 3:
                await system.restart("p/1")
        await trio.sleep(1)
        system.tell("p/1", CloseLog())
    assert seen == list(range(1, 13))


async def test_a_subscriber_that_comes_back_after_passivation_goes_on_where_it_left(system: ActorSystem) -> None:
    await publishers(system, Store())
    await system.ask("p/1", Publish())
    await system.ask("p/1", Publish())
    async with system.subscribe("p/1") as events:
        assert await events.__anext__() == Numbered(1, 1)
    await trio.sleep(30)
    assert system.whereis("p/1") is None
    async with system.subscribe("p/1", after=1) as events:
        assert await events.__anext__() == Numbered(2, 2)
        await system.ask("p/1", Publish())
        assert await events.__anext__() == Numbered(3, 3)


async def test_subscribing_says_what_is_wrong_on_entering(system: ActorSystem) -> None:
    await publishers(system, Store())
    await system.spawn(ChildSpec("mute", Counter))
    with pytest.raises(NoEvents):
        async with system.subscribe("mute"):
            pass
    with pytest.raises(FutureSequence):
        async with system.subscribe("p/1", after=1):
            pass


@settings(max_examples=30)
@given(
    script=st.lists(
        st.sampled_from(["publish", "publish", "publish", "crash", "kill", "leave", "wait"]), min_size=1, max_size=25
    ),
    seed=st.integers(0, 9),
)
def test_a_subscriber_sees_each_event_once_in_order_whatever_happens_to_the_actor(script: list[str], seed: int) -> None:
    async def scenario() -> None:
        async with open_system(seed=seed) as system:
            await publishers(system, Store())
            seen: list[int] = []
            published = 0
            leave = trio.Event()

            async def read() -> None:
                nonlocal leave
                while True:
                    leave = trio.Event()
                    async with system.subscribe("p/1", after=len(seen)) as events, trio.open_nursery() as inner:
                        inner.start_soon(_cancel_when, leave, inner.cancel_scope)
                        async for item in events:
                            if isinstance(item, Numbered):
                                seen.append(item.seq)
                    if len(seen) > 10**6:
                        return

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                for step in script:
                    match step:
                        case "publish":
                            published = await system.ask("p/1", Publish(), timeout=100)
                        case "crash":
                            with pytest.raises(ActorCrashed):
                                await system.ask("p/1", Crash(), timeout=100)
                        case "kill":
                            if system.whereis("p/1"):
                                await system.kill("p/1")
                        case "leave":
                            leave.set()
                        case _:
                            await trio.sleep(0.05)
                await trio.sleep(200)
                nursery.cancel_scope.cancel()
            assert seen == list(range(1, published + 1))

    run(scenario, seed=seed)


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def test_a_subscriber_can_take_what_is_at_hand_in_one_go(system: ActorSystem) -> None:
    await publishers(system, Store())
    async with system.subscribe("p/1") as events:
        for _ in range(3):
            await system.ask("p/1", Publish())
        assert [events.take_ready() for _ in range(4)] == [*[Numbered(n, n) for n in (1, 2, 3)], None]


async def test_what_others_have_written_meanwhile_is_read_from_the_history_and_what_follows_from_the_ring() -> None:
    kept = [Numbered(number, number) for number in range(1, 7)]

    async def history(after: int, limit: int) -> Sequence[Numbered[int]]:
        return kept[after:][:limit]

    log = EventLog[int](history=history)
    seen: list[int] = []

    async def read(after: int) -> None:
        async with log.subscribe(after) as events:
            async for item in events:
                assert isinstance(item, Numbered)
                seen.append(item.event)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, 0)
        log.append(1)
        await wait_all_tasks_blocked()
        log.advance(6)
        log.advance(3)  # is known already
        await wait_all_tasks_blocked()
        assert seen == [1, 2, 3, 4, 5, 6]
        kept.append(Numbered(7, 7))
        assert log.append(7) == 7
        await wait_all_tasks_blocked()
        nursery.start_soon(read, 4)
        log.close()
    assert seen == [1, 2, 3, 4, 5, 6, 7, 5, 6, 7]
