"""What a tool found is kept for a while, for the same person only."""

import attrs
import trio
from trio.testing import MockClock

from understudy.actors.tools.cache import ToolCache
from understudy.actors.tools.messages import CacheUse, ToolContext, ToolRan
from understudy.actors.tools.tool import Arguments, Passing, Tool, ToolFailed
from understudy.actors.tools.toolbox import Toolbox
from understudy.storage.records import ToolCall

MIRA = ToolContext("ws_1", "mira", "chad", "ses", "trn")


class Look(Arguments, frozen=True):
    what: str
    twice: bool = False


class Bench:
    def __init__(self, most: int = 10) -> None:
        self.cache = ToolCache(most)
        self.runs = 0
        self.told: list[ToolRan] = []
        tools = [Tool("look", "looks", Look, self.look, keep=60.0), Tool("act", "acts", Look, self.look)]
        self.box = Toolbox(tools, report=self.told.append, cache=self.cache)

    async def look(self, arguments: Look, context: ToolContext) -> str:
        self.runs += 1
        if arguments.what == "fail":
            raise ToolFailed("no")
        if arguments.what == "crash":
            raise ZeroDivisionError
        if arguments.what == "passing":
            return Passing("not for long")
        return f"{arguments.what} {self.runs}"

    async def run(self, arguments: str = '{"what":"x"}', context: ToolContext = MIRA, tool: str = "look") -> str:
        return (await self.box.run(ToolCall("c", tool, arguments), context)).content


async def test_the_same_call_is_answered_from_before_however_it_is_written() -> None:
    bench = Bench()
    assert await bench.run() == "x 1"
    assert await bench.run('{ "twice" : false, "what" : "x" }') == "x 1"
    assert await bench.run('{"what":"x","twice":true}') == "x 2"
    assert [ran.cached for ran in bench.told] == [False, True, False]
    assert bench.cache.statistics().by_tool == {"look": CacheUse(hits=1, misses=2, size=2)}


async def test_nobody_is_given_what_was_found_for_another() -> None:
    bench = Bench()
    await bench.run()
    assert await bench.run(context=attrs.evolve(MIRA, uid="noor")) == "x 2"
    assert await bench.run(context=attrs.evolve(MIRA, workspace_id="ws_2")) == "x 3"
    assert await bench.run(context=attrs.evolve(MIRA, session_id="another", turn_id="another")) == "x 1"


async def test_failures_and_what_acts_and_what_is_passing_are_never_kept() -> None:
    bench = Bench()
    for what in ("fail", "crash", "passing"):
        before = bench.runs
        for _ in range(2):
            await bench.run(f'{{"what":"{what}"}}')
        assert bench.runs == before + 2
    assert await bench.run(tool="act") != await bench.run(tool="act")
    assert bench.cache.statistics().whole.size == 0


async def test_results_grow_old_and_the_unused_go_first(autojump_clock: MockClock) -> None:
    bench = Bench(most=2)
    with trio.fail_after(1000):
        await bench.run('{"what":"a"}')
        await bench.run('{"what":"b"}')
        assert await bench.run('{"what":"a"}') == "a 1"
        await bench.run('{"what":"c"}')
        assert await bench.run('{"what":"a"}') == "a 1"
        assert await bench.run('{"what":"b"}') == "b 4"
        await trio.sleep(61)
        assert bench.cache.statistics().whole.size == 0
        assert await bench.run('{"what":"b"}') == "b 5"


async def test_what_is_cleared_is_that_of_the_tool_and_the_person() -> None:
    bench = Bench()
    noor = attrs.evolve(MIRA, uid="noor")
    for context in (MIRA, noor):
        await bench.run(context=context)
    assert bench.cache.clear(tool="other") == 0
    assert bench.cache.clear(uid="mira", tool="look") == 1
    assert await bench.run(context=noor) == "x 2"
    assert bench.cache.clear() == 1


async def test_a_hundred_megabytes_are_cut_and_not_kept_and_what_is_no_text_is_a_failure() -> None:
    async def flood(arguments: Look, context: ToolContext) -> str:
        return "ü" * 50_000_000

    async def odd(arguments: Look, context: ToolContext) -> str:
        return {"not": "text"}  # type: ignore[return-value]

    cache = ToolCache()
    box = Toolbox([Tool("flood", "floods", Look, flood, keep=60.0), Tool("odd", "is odd", Look, odd)], cache=cache)
    result = await box.run(ToolCall("c", "flood", '{"what":"x"}'), MIRA)
    assert (result.ok, result.truncated) == (True, True)
    assert len(result.content.encode()) <= 16 * 1024
    assert cache.statistics().whole.size == 0
    assert not (await box.run(ToolCall("c", "odd", '{"what":"x"}'), MIRA)).ok
