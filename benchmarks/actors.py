"""The actor kernel beside its peers: one table, measured in one run, each system in a process of its own.

    python benchmarks/actors.py [--quick] [--only NAME]

Peers that are not installed are skipped, with a line that says so: ``pip install -e '.[bench]'`` brings pykka, xoscar
and autogen-core; Erlang takes part when ``escript`` is on the path. Rates are per second of the process's own CPU time,
best of three, because a shared machine can only make things slower; restarts are timed by the wall. All Python systems
run with the same garbage collector settings (`GC`), those that a server would choose: the default ones collect the
oldest generation again and again while 100,000 actors are made.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

GC = (50_000, 20, 100)
ROWS = {
    "one_way": ("one-way messages / s", 1_000_000, "≥"),
    "ask": ("request-reply / s", 50_000, "≥"),
    "spawn": ("spawn / s", 30_000, "≥"),
    "bytes": ("bytes per idle actor", 4096, "≤"),
    "restart_us": ("crash to next message, median µs", 1000, "≤"),
    "stop_s": ("orderly stop of all idle actors, s", 5, "≤"),
    "tree_ms": ("tree of 10,000 actors, ms", 100, "≤"),
}
SYSTEMS = ("understudy", "pykka", "xoscar", "autogen-core", "erlang")
MODULES = {"understudy": "trio", "pykka": "pykka", "xoscar": "xoscar", "autogen-core": "autogen_core"}


def rss() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def best(figures: list[float]) -> float:
    return max(figures)


# -- understudy --------------------------------------------------------------------------------------------------------


def measure_understudy(scale: float) -> dict[str, float]:
    import attrs
    import trio

    from understudy.runtime import Actor, ActorSystem, Ask, ChildSpec, DynamicSpec, receive

    @attrs.frozen
    class Add(Ask[int]):
        n: int

    @attrs.frozen
    class Note:
        pass

    @attrs.frozen
    class Crash:
        n: int

    class Counter(Actor):
        mailbox_limit = 10**9

        def __init__(self) -> None:
            self.total = 0

        def add(self, message: Any) -> int:
            self.total += message.n
            return self.total

        def note(self, message: Any) -> None:
            self.total += 1

        def crash(self, message: Any) -> None:
            raise ValueError(message.n)

        # The messages are local to this function, so their annotations are given as types, not as names.
        add.__annotations__["message"] = Add
        note.__annotations__["message"] = Note
        crash.__annotations__["message"] = Crash
        receive(add), receive(note), receive(crash)

    async def main() -> dict[str, float]:
        figures: dict[str, float] = {}
        system = ActorSystem("bench", max_restarts=10**9)
        async with system:
            ref = await system.spawn(ChildSpec("counter", Counter))
            note, add = Note(), Add(1)
            rates = []
            count = int(300_000 * scale)
            for _ in range(3):
                began = process_time()
                for _ in range(count // 1000):
                    for _ in range(1000):
                        ref.tell(note)
                    await trio.lowlevel.checkpoint()
                await ref.ask(add)
                rates.append(count / (process_time() - began))
            figures["one_way"] = best(rates)
            rates = []
            count = int(40_000 * scale)
            for _ in range(3):
                began = process_time()
                for _ in range(count):
                    await ref.ask(add)
                rates.append(count / (process_time() - began))
            figures["ask"] = best(rates)
            times = []
            for n in range(200):
                system.find("counter").attempts = 0  # type: ignore[union-attr]  # "without backoff"
                began = perf_counter()
                ref.tell(Crash(n))
                await ref.ask(add)
                times.append((perf_counter() - began) * 1e6)
            figures["restart_us"] = statistics.median(times)
        system = ActorSystem("bench")
        async with system:
            await system.spawn(DynamicSpec("counters", "counter", lambda key: ChildSpec(key, Counter)))
            for n in range(10_000):
                await system.ensure(f"counter/{n}")
            times = []
            for _ in range(5):
                began = process_time()
                system.tree()
                times.append((process_time() - began) * 1e3)
            figures["tree_ms"] = min(times)
        rates = []
        figures["actors"] = int(100_000 * scale)
        for count in (int(100_000 * scale), int(20_000 * scale), int(20_000 * scale)):
            system = ActorSystem("bench")
            async with system:
                await system.spawn(DynamicSpec("counters", "counter", lambda key: ChildSpec(key, Counter)))
                gc.collect()
                before = rss()
                began = process_time()
                for n in range(count):
                    await system.ensure(f"counter/{n}")
                rates.append(count / (process_time() - began))
                gc.collect()
                if count == figures["actors"]:
                    figures["bytes"] = (rss() - before) / count
                    began = process_time()
                    await system.stop()
                    figures["stop_s"] = process_time() - began
        figures["spawn"] = best(rates)
        return figures

    return trio.run(main)


# -- pykka -------------------------------------------------------------------------------------------------------------


def measure_pykka(scale: float) -> dict[str, float]:
    import pykka

    class Counter(pykka.ThreadingActor):
        def __init__(self) -> None:
            super().__init__()
            self.total = 0

        def on_receive(self, message: Any) -> Any:
            self.total += 1
            return self.total

    figures: dict[str, float] = {}
    ref = Counter.start()
    rates = []
    count = int(60_000 * scale)
    for _ in range(3):
        began = process_time()
        for _ in range(count):
            ref.tell(1)
        ref.ask(1)
        rates.append(count / (process_time() - began))
    figures["one_way"] = best(rates)
    rates = []
    count = int(10_000 * scale)
    for _ in range(3):
        began = process_time()
        for _ in range(count):
            ref.ask(1)
        rates.append(count / (process_time() - began))
    figures["ask"] = best(rates)
    count = int(500 * scale)
    before = rss()
    began = process_time()
    for _ in range(count):
        Counter.start()
    figures["spawn"] = count / (process_time() - began)
    figures["bytes"] = (rss() - before) / count
    began = process_time()
    pykka.ActorRegistry.stop_all()
    figures["stop_s"] = process_time() - began
    figures["actors"] = count
    return figures


# -- xoscar ------------------------------------------------------------------------------------------------------------


def run_async(fn: Callable[[], Awaitable[dict[str, float]]]) -> dict[str, float]:
    import asyncio  # noqa: TID251 - the peers' loop, not ours

    return asyncio.run(fn())  # type: ignore[arg-type]


def measure_xoscar(scale: float) -> dict[str, float]:
    import xoscar as xo

    class Counter(xo.Actor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.total = 0

        def add(self, n: int) -> int:
            self.total += n
            return self.total

    async def main() -> dict[str, float]:
        figures: dict[str, float] = {}
        address = "127.0.0.1:13579"
        pool = await xo.create_actor_pool(address, n_process=0)
        async with pool:
            ref = await xo.create_actor(Counter, address=address, uid="counter")
            rates = []
            count = int(5_000 * scale)
            for _ in range(3):
                began = process_time()
                for _ in range(count):
                    await ref.add(1)
                rates.append(count / (process_time() - began))
            figures["ask"] = best(rates)
            count = int(10_000 * scale)
            gc.collect()
            before = rss()
            began = process_time()
            for n in range(count):
                await xo.create_actor(Counter, address=address, uid=f"c{n}")
            figures["spawn"] = count / (process_time() - began)
            gc.collect()
            figures["bytes"] = (rss() - before) / count
            figures["actors"] = count
        return figures

    return run_async(main)


# -- autogen-core ------------------------------------------------------------------------------------------------------


def measure_autogen_core(scale: float) -> dict[str, float]:
    from dataclasses import dataclass

    from autogen_core import AgentId, MessageContext, RoutedAgent, SingleThreadedAgentRuntime, message_handler

    @dataclass
    class Add:
        n: int

    class Counter(RoutedAgent):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__("counter")
            self.total = 0

        async def add(self, message: Any, ctx: Any) -> int:
            self.total += message.n
            return self.total

        add.__annotations__.update({"message": Add, "ctx": MessageContext, "return": int})
        add = message_handler(add)

    async def main() -> dict[str, float]:
        figures: dict[str, float] = {}
        runtime = SingleThreadedAgentRuntime()
        await Counter.register(runtime, "counter", lambda: Counter())
        runtime.start()
        target = AgentId("counter", "one")
        rates = []
        count = int(2_000 * scale)
        for _ in range(3):
            began = process_time()
            for _ in range(count):
                await runtime.send_message(Add(1), target)
            rates.append(count / (process_time() - began))
        figures["ask"] = best(rates)
        count = int(2_000 * scale)
        gc.collect()
        before = rss()
        began = process_time()
        for n in range(count):  # agents are made by their first message
            await runtime.send_message(Add(1), AgentId("counter", str(n)))
        figures["spawn"] = count / (process_time() - began)
        gc.collect()
        figures["bytes"] = (rss() - before) / count
        figures["actors"] = count
        await runtime.stop_when_idle()
        return figures

    return run_async(main)


# -- Erlang ------------------------------------------------------------------------------------------------------------

ERLANG = r"""#!/usr/bin/env escript
%%! +P 2000000 +S 1:1
-mode(compile).
-behaviour(gen_server).
-export([init/1, handle_call/3, handle_cast/2]).
init(_) -> {ok, 0}.
handle_call({add, N}, _From, T) -> {reply, T + N, T + N}.
handle_cast(note, T) -> {noreply, T + 1}.
now_us() -> erlang:monotonic_time(microsecond).
cpu_us() -> element(1, erlang:statistics(runtime)) * 1000.
times(0, _) -> ok;
times(N, F) -> F(), times(N - 1, F).
rate(N, F) -> B = cpu_us(), times(N, F), N * 1000000 / (cpu_us() - B).
wait_new(Name, Old) ->
    case whereis(Name) of
        P when is_pid(P), P =/= Old -> P;
        _ -> erlang:yield(), wait_new(Name, Old)
    end.
main([Out]) ->
    {ok, Pid} = gen_server:start(?MODULE, [], []),
    OneWay = lists:max([begin
        B = cpu_us(), times(1000000, fun() -> gen_server:cast(Pid, note) end), gen_server:call(Pid, {add, 1}, infinity),
        1000000 * 1000000 / (cpu_us() - B) end || _ <- lists:seq(1, 3)]),
    Ask = lists:max([rate(200000, fun() -> gen_server:call(Pid, {add, 1}) end) || _ <- lists:seq(1, 3)]),
    Before = erlang:memory(processes),
    Began = cpu_us(),
    Pids = [begin {ok, P} = gen_server:start(?MODULE, [], []), P end || _ <- lists:seq(1, 100000)],
    Spawn = 100000 * 1000000 / (cpu_us() - Began),
    Bytes = (erlang:memory(processes) - Before) / 100000,
    StopBegan = cpu_us(),
    [gen_server:stop(P) || P <- Pids],
    Stop = (cpu_us() - StopBegan) / 1000000,
    Keeper = spawn(fun Keep() ->
        {P, R} = spawn_monitor(fun() -> register(victim, self()), receive stop -> ok end end),
        receive {'DOWN', R, process, P, _} -> Keep() end end),
    Restarts = lists:sort([begin
        Old = wait_new(victim, none), B = now_us(), exit(Old, kill), wait_new(victim, Old), now_us() - B
        end || _ <- lists:seq(1, 200)]),
    exit(Keeper, kill),
    file:write_file(Out, io_lib:format(
        "{\"one_way\": ~f, \"ask\": ~f, \"spawn\": ~f, \"bytes\": ~f, \"restart_us\": ~f, \"stop_s\": ~f,"
        " \"actors\": 100000}",
        [float(OneWay), float(Ask), float(Spawn), float(Bytes), float(lists:nth(100, Restarts)), float(Stop)])).
"""


def measure_erlang(scale: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        script, out = Path(folder) / "bench.escript", Path(folder) / "out.json"
        script.write_text(ERLANG)
        subprocess.run(["escript", str(script), str(out)], check=True, timeout=120)
        return json.loads(out.read_text())  # type: ignore[no-any-return]


MEASURE: dict[str, Callable[[float], dict[str, float]]] = {
    "understudy": measure_understudy,
    "pykka": measure_pykka,
    "xoscar": measure_xoscar,
    "autogen-core": measure_autogen_core,
    "erlang": measure_erlang,
}


# -- the table ---------------------------------------------------------------------------------------------------------


def missing(name: str) -> str | None:
    """Say why *name* cannot be measured here, or None."""
    if name == "erlang":
        return None if shutil.which("escript") else "escript is not installed"
    module = MODULES[name]
    return None if importlib.util.find_spec(module) else f"{module} is not importable (pip install -e '.[bench]')"


def measure(name: str, scale: float) -> dict[str, float]:
    """Measure *name* in a process of its own, so that no system inherits another's heap."""
    command = [sys.executable, __file__, "--measure", name, "--scale", str(scale)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return json.loads(result.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def show(figures: dict[str, dict[str, float]]) -> None:
    names = list(figures)
    width = max(len(text) for text, _, _ in ROWS.values()) + 2
    print(" " * width + f"{'aim':>12}" + "".join(f"{name:>16}" for name in names))
    for key, (text, aim, sign) in ROWS.items():
        cells = [f"{figures[name][key]:>16,.4g}" if key in figures[name] else f"{'-':>16}" for name in names]
        cells = [f"{figures[name][key]:>16,.0f}" if figures[name].get(key, 0) >= 100 else cell
                 for name, cell in zip(names, cells, strict=True)]  # fmt: skip
        print(f"{text:<{width}}{sign + ' ' + format(aim, ','):>12}" + "".join(cells))
    print(
        f"{'(actors made)':<{width}}{'':>12}" + "".join(f"{figures[name].get('actors', 0):>16,.0f}" for name in names)
    )
    ours = figures.get("understudy")
    if ours is None or len(names) < 2:
        return
    print("\nunderstudy against each: how many times as good (above 1 is better)")
    for key, (text, _, sign) in ROWS.items():
        cells = []
        for name in names[1:]:
            theirs = figures[name].get(key)
            if theirs is None or not ours.get(key) or key == "stop_s":
                cells.append(f"{'-':>16}")
                continue
            ratio = ours[key] / theirs if sign == "≥" else theirs / ours[key]
            cells.append(f"{ratio:>15.2f}x")
        if any(cell.strip() != "-" for cell in cells):
            print(f"{text:<{width}}{'':>12}{'':>16}" + "".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work; for trying it out")
    parser.add_argument("--only", choices=SYSTEMS, action="append", help="measure only this system (repeatable)")
    parser.add_argument("--measure", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--scale", type=float, default=1.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        gc.set_threshold(*GC)
        print(json.dumps(MEASURE[options.measure](options.scale)))
        return
    figures: dict[str, dict[str, float]] = {}
    for name in options.only or SYSTEMS:
        why = missing(name)
        if why is not None:
            print(f"{name}: skipped, {why}")
            continue
        print(f"{name}: measuring …", flush=True)
        try:
            figures[name] = measure(name, 0.1 if options.quick else 1.0)
        except subprocess.SubprocessError as error:
            print(f"{name}: failed, {error}\n{getattr(error, 'stderr', '')}")
    print(f"\nPython {sys.version.split()[0]}, per CPU second; gc thresholds {GC}; best of three\n")
    show(figures)


if __name__ == "__main__":
    main()
