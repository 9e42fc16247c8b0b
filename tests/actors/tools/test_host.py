"""The tools' actor on the real kernel."""

import pytest
import trio

from understudy.actors.inference.messages import ToolSpec
from understudy.actors.tools.host import tool_host_spec
from understudy.actors.tools.messages import HOST, ListTools, ToolRan, ToolStatistics
from understudy.runtime import ActorSystem, SupervisorSpec

SPECS = (ToolSpec("clock", "tells the time", {"type": "object"}), ToolSpec("lamp", "shines", {"type": "object"}))


@pytest.mark.parametrize("killed", [False, True])
async def test_it_lists_the_tools_and_counts_their_runs_since_it_started(killed: bool) -> None:
    with trio.fail_after(30):
        async with ActorSystem("test") as system:
            await system.spawn(SupervisorSpec("tools", children=(tool_host_spec(lambda: SPECS),)))
            if killed:
                system.tell(HOST, ToolRan("clock", True, 99))
                await system.ask(HOST, ListTools())  # handled before the kill: queued mail would survive it
                await system.kill(HOST)
            for ok in (True, False, True):
                system.tell(HOST, ToolRan("clock", ok, 5))
            found = await system.ask(HOST, ListTools())
            assert found.tools == SPECS
            assert found.statistics == {"clock": ToolStatistics(3, 1, 15), "lamp": ToolStatistics()}
            assert (await system.inspect(HOST))["clock"] == {"runs": 3, "failures": 1, "total_ms": 15}
