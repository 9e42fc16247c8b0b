"""The board: written, read, waited for, and bounded."""

import json
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from understudy.actors.tools.blackboard import MOST_KEYS, Blackboards, blackboard_tools
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.toolbox import Toolbox
from understudy.storage.records import ToolCall

CONTEXT = ToolContext("ws", "usr", "agent", "ses", "trn_1")


class Board:
    def __init__(self, most: int = 3) -> None:
        self.box = Toolbox(blackboard_tools(Blackboards(most)))

    async def __call__(self, verb: str, *, root: str = "", **arguments: Any) -> tuple[bool, str]:
        context = attrs.evolve(CONTEXT, root=root)
        result = await self.box.run(ToolCall("c", f"blackboard_{verb}", json.dumps(arguments)), context)
        return result.ok, result.content


async def test_what_is_written_is_read_by_those_of_the_same_turn_alone() -> None:
    board = Board()
    assert await board("write", key="a", value="1") == (True, "a: written")
    assert await board("write", key="b", value="2", root="trn_1") == (True, "b: written")  # one that works for it
    assert await board("read") == (True, '{"a":"1","b":"2"}')
    assert await board("read", keys=["b", "c"]) == (True, '{"b":"2"}')
    assert await board("read", keys=["b", "c"], required=True) == (False, "not on the board: c")
    assert await board("read", root="trn_2") == (True, "{}")


async def test_a_reader_waits_for_all_it_wants_and_no_longer_than_it_said(autojump_clock: MockClock) -> None:
    del autojump_clock
    board = Board()
    with trio.fail_after(1000):
        began = trio.current_time()
        assert await board("read", keys=["a"], wait=5, required=True) == (False, "not on the board: a")
        assert trio.current_time() - began == 5
        async with trio.open_nursery() as nursery:
            seen: list[tuple[bool, str]] = []

            async def read() -> None:
                seen.append(await board("read", keys=["a", "b"], wait=60))

            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            await board("write", key="a", value="1")
            await wait_all_tasks_blocked()
            assert not seen
            await board("write", key="b", value="2")
        assert seen == [(True, '{"a":"1","b":"2"}')]


async def test_a_board_has_an_end_and_so_have_boards() -> None:
    board = Board(most=2)
    for number in range(MOST_KEYS):
        assert (await board("write", key=f"k{number}", value=""))[0]
    assert await board("write", key="more", value="") == (False, f"the board is full: it has {MOST_KEYS} keys")
    assert (await board("write", key="k0", value="again"))[0]
    assert "length <= 4096" in (await board("write", key="k0", value="x" * 4097))[1]
    for other in ("trn_2", "trn_3"):
        await board("write", root=other, key="a", value="1")
    assert await board("read") == (True, "{}")


@pytest.mark.parametrize("key", ["", "a b", "-a", "a" * 65])
async def test_keys_are_words(key: str) -> None:
    assert not (await Board()("write", key=key, value=""))[0]
