"""What needs a clock on the wall: rule 19's report of handlers that hold the loop."""

from __future__ import annotations

import threading
from time import perf_counter

import attrs
import trio

from understudy.runtime import Actor, ActorSystem, Ask, ChildSpec, TelemetryEvent, receive


@attrs.frozen
class Spin(Ask[None]):
    seconds: float


@attrs.frozen
class SpinSlowly(Ask[None]):
    times: int


@attrs.frozen
class Fail:
    n: int


def burn(seconds: float) -> None:
    end = perf_counter() + seconds
    while perf_counter() < end:
        sum(range(100))


class Spinner(Actor):
    @receive
    def spin(self, message: Spin) -> None:
        burn(message.seconds)

    @receive
    async def spin_slowly(self, message: SpinSlowly) -> None:
        for _ in range(message.times):
            burn(0.01)
            await trio.lowlevel.checkpoint()


class Fragile(Spinner):
    @receive
    def fail(self, message: Fail) -> None:
        raise ValueError(message.n)


async def test_a_handler_that_holds_the_loop_is_reported_with_its_stack() -> None:
    with trio.fail_after(30):
        async with ActorSystem("test", loop_hold=0.1) as system:
            events: list[TelemetryEvent] = []
            reported = trio.Event()

            def note(event: TelemetryEvent) -> None:
                events.append(event)
                reported.set()

            system.telemetry.attach("held", note, events=["loop.held"])
            await system.spawn(ChildSpec("a", Spinner))
            held = 0
            while not reported.is_set():  # the watchdog's thread may not get a turn for as long as that
                held += 1
                await system.ask("a", Spin(0.4))
                with trio.move_on_after(1):
                    await reported.wait()
            assert 1 <= len(events) <= held
            assert events[0].metadata["address"] == "a"
            assert events[0].metadata["message"] == "Spin"
            assert "in burn" in str(events[0].metadata["stack"])
            assert events[0].measurements["seconds"] >= 0.1


async def test_a_handler_that_lets_others_run_is_not_reported() -> None:
    with trio.fail_after(30):
        # So long that no pause of the machine's own is taken for a handler's.
        async with ActorSystem("test", loop_hold=1.0) as system:
            events: list[TelemetryEvent] = []
            system.telemetry.attach("held", events.append, events=["loop.held"])
            await system.spawn(ChildSpec("a", Spinner))
            await system.ask("a", SpinSlowly(130), timeout=30)
            await trio.sleep(0.05)
            assert events == []


async def test_the_watchdogs_thread_ends_with_the_system() -> None:
    def watching() -> bool:  # by name: the threads that trio keeps for its own use come and go
        return any(thread.name == "test watchdog" for thread in threading.enumerate())

    async with ActorSystem("test"):
        assert watching()
    assert not watching()


async def test_the_crash_of_one_actor_takes_less_than_a_few_milliseconds_from_all() -> None:
    """Not a benchmark: a guard against formatting tracebacks, or waiting, on the way to a restart."""

    async with ActorSystem("test", max_restarts=10**6) as system:
        ref = await system.spawn(ChildSpec("a", Fragile))
        times = []
        for n in range(20):
            began = perf_counter()
            system.find("a").attempts = 0  # type: ignore[union-attr]
            ref.tell(Fail(n))
            await ref.ask(Spin(0))
            times.append(perf_counter() - began)
    assert min(times) < 0.02, times  # the least: what else the machine does is not ours
