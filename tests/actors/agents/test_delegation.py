"""What an agent that works for another may do: what both may."""

import attrs
import pytest

from understudy.actors.agents.config import AgentConfig, FileAccess, Spawning
from understudy.actors.agents.delegation import Delegated

HELPER = AgentConfig("helper", "Helper", "", "test", "script", "You help.", tools=("a", "b", "c"))


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (FileAccess(False), FileAccess(False), FileAccess(False)),
        (FileAccess(True, ("a",)), FileAccess(False), FileAccess(True, ("a",))),
        (FileAccess(False), FileAccess(True, ("a",)), FileAccess(True, ("a",))),
        (FileAccess(True, ("a/b", "c")), FileAccess(True, ("/a", "cc")), FileAccess(True, ("a/b",))),
        (FileAccess(True, ("a",)), FileAccess(True, ("b",)), FileAccess(True)),
    ],
)
def test_files_are_those_that_both_reach(one: FileAccess, other: FileAccess, both: FileAccess) -> None:
    assert Delegated((), one, 1).narrow(attrs.evolve(HELPER, file_access=other)).file_access == both


@pytest.mark.parametrize(
    ("depth", "own", "left"),
    [
        (1, Spawning(True, ("x",), 3), Spawning(True, ("x",), 1)),
        (0, Spawning(True, ("x",), 3), Spawning(False, ("x",), 0)),
    ],
)
def test_tools_are_those_that_both_have_and_the_depth_is_what_is_left(
    depth: int, own: Spawning, left: Spawning
) -> None:
    narrowed = Delegated(("c", "d", "a"), FileAccess(), depth).narrow(attrs.evolve(HELPER, spawn=own))
    assert (narrowed.tools, narrowed.spawn) == (("a", "c"), left)
