"""`blackboard_read`, `blackboard_write`: where agents that work in one turn put things down for each other."""

from typing import Annotated

import attrs
import msgspec
import trio
from msgspec import Meta

from understudy.actors.lru import Lru
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.tool import Arguments, Tool, ToolFailed

MOST_BOARDS = 256
MOST_KEYS = 50
LONGEST_VALUE = 4096
LONGEST_WAIT = 60.0

Key = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class BlackboardWrite(Arguments, frozen=True):
    """Arguments of ``blackboard_write``."""

    key: Key
    value: Annotated[str, Meta(max_length=LONGEST_VALUE, description="replaces what was there")]


class BlackboardRead(Arguments, frozen=True):
    """Arguments of ``blackboard_read``."""

    keys: Annotated[tuple[Key, ...], Meta(max_length=MOST_KEYS, description="default: all there are")] = ()
    wait: Annotated[
        float, Meta(ge=0, le=LONGEST_WAIT, description="seconds to wait until all of the keys are there")
    ] = 0.0
    required: Annotated[bool, Meta(description="fail when one of the keys is not there")] = False


@attrs.define
class _Board:
    values: dict[str, str] = attrs.field(factory=dict)
    written: trio.Event = attrs.field(factory=trio.Event)


class Blackboards:
    """A board for each turn that somebody asked for, shared by all agents that work in it, and by nobody else.

    In memory, and the least used goes when there are many: a board is worth as much as its turn, which a node that dies
    takes along too.
    """

    def __init__(self, most: int = MOST_BOARDS) -> None:
        self._boards: Lru[str, _Board] = Lru(most)

    def write(self, root: str, key: str, value: str) -> None:
        """Put *value* under *key*. Raises `ToolFailed` when the board is full."""
        board = self._board(root)
        if key not in board.values and len(board.values) >= MOST_KEYS:
            raise ToolFailed(f"the board is full: it has {MOST_KEYS} keys")
        board.values[key] = value
        board.written.set()
        board.written = trio.Event()

    async def read(self, root: str, keys: tuple[str, ...], wait: float) -> dict[str, str]:
        """What is there of *keys* (all without any), after waiting at most *wait* seconds until all of them are."""
        board = self._board(root)
        with trio.move_on_after(wait):
            while not board.values.keys() >= set(keys):
                await board.written.wait()
        return {key: board.values[key] for key in keys or sorted(board.values) if key in board.values}

    def _board(self, root: str) -> _Board:
        board = self._boards.get(root)
        if board is None:
            board = _Board()
            self._boards.put(root, board)
        return board


def blackboard_tools(boards: Blackboards | None = None) -> list[Tool]:
    """The tools, on *boards* of their own unless given."""
    boards = boards or Blackboards()

    async def blackboard_write(arguments: BlackboardWrite, context: ToolContext) -> str:
        boards.write(_root(context), arguments.key, arguments.value)
        await trio.lowlevel.checkpoint()
        return f"{arguments.key}: written"

    async def blackboard_read(arguments: BlackboardRead, context: ToolContext) -> str:
        found = await boards.read(_root(context), arguments.keys, arguments.wait)
        missing = [key for key in arguments.keys if key not in found]
        if missing and arguments.required:
            raise ToolFailed(f"not on the board: {', '.join(missing)}")
        return msgspec.json.encode(found).decode()

    return [
        Tool(
            "blackboard_write",
            "Put something down for the other agents that work on this task with you.",
            BlackboardWrite,
            blackboard_write,
        ),
        Tool(
            "blackboard_read",
            "Read what the agents that work on this task have put down, as JSON; wait for it if need be.",
            BlackboardRead,
            blackboard_read,
            timeout=LONGEST_WAIT + 5.0,
        ),
    ]


def _root(context: ToolContext) -> str:
    return context.root or context.turn_id
