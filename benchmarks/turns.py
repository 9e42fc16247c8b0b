"""What the agent loop itself costs a turn: everything but the model, the disk and HTTP.

    python -m benchmarks.turns [--turns 2000] [--tokens 64]

The real session actors over the memory store, and a model that says its tokens without waiting. Beside it, the same
tokens handed from one task to another through trio's own channel: the least that any loop of this kind costs.
"""

import argparse
import statistics
import time
from collections.abc import AsyncIterator

import trio

from tests.actors.session.stage import KEY, Line, Stage, stage
from understudy.actors.inference.messages import Finished, ModelEvent, TextDelta
from understudy.actors.session.messages import DIRECTORY, Reset
from understudy.storage.records import Usage

FRESH_EVERY = 20
"""Turns of one conversation: histories are to be of a usual length."""


async def turn_times(it: Stage, turns: int) -> list[float]:
    """Seconds from the question to the last event of each turn."""
    times: list[float] = []
    for number in range(turns):
        if number % FRESH_EVERY == 0:
            await it.system.ask(DIRECTORY, Reset(KEY))
        began = time.perf_counter()
        await it.chat("how are you?")
        times.append(time.perf_counter() - began)
    return times


async def channel_times(turns: int, tokens: int) -> list[float]:
    """Seconds to pass as many tokens through a channel of trio's."""
    times: list[float] = []
    for _ in range(turns):
        send, receive = trio.open_memory_channel[str](0)

        async def say(channel: trio.MemorySendChannel[str]) -> None:
            async with channel:
                for _ in range(tokens):
                    await channel.send("word ")

        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, send)
            async for _ in receive:
                pass
        times.append(time.perf_counter() - began)
    return times


def row(name: str, times: list[float]) -> None:
    """One line of the table, in milliseconds."""
    ordered = sorted(times)
    print(f"{name:24}{statistics.median(ordered) * 1000:9.2f}{ordered[int(len(ordered) * 0.99)] * 1000:9.2f}")


async def main(turns: int, tokens: int) -> None:
    """Run it and print the table."""

    async def script(_line: Line) -> AsyncIterator[ModelEvent]:
        for _ in range(tokens):
            yield TextDelta("word ")
        yield Finished("stop", Usage(10, tokens), "script-1")

    print(f"{turns} turns of {tokens} tokens\n{'':24}{'p50 ms':>9}{'p99 ms':>9}")
    async with stage(script) as it:
        await turn_times(it, 100)
        row("understudy, the loop", await turn_times(it, turns))
    row("a channel of trio's", await channel_times(turns, tokens))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=64)
    given = parser.parse_args()
    trio.run(main, given.turns, given.tokens)
