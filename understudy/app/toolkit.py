"""Which tools there are, and whose."""

from collections.abc import Iterable

import attrs

from understudy.actors.approvals.consent import ApprovalRules
from understudy.actors.audit.messages import AUDIT, Record
from understudy.actors.clock import utc_now
from understudy.actors.mcp.chatting import chat_tool
from understudy.actors.mcp.library import RemoteTools
from understudy.actors.outbound.guarded import GuardedClient
from understudy.actors.skills.messages import USAGE
from understudy.actors.tools.acting import executed
from understudy.actors.tools.blackboard import blackboard_tools
from understudy.actors.tools.builtin import builtin_tools
from understudy.actors.tools.cache import ToolCache
from understudy.actors.tools.desk import OFFERED
from understudy.actors.tools.enqueueing import job_tools
from understudy.actors.tools.files import file_tools
from understudy.actors.tools.messages import HOST, ToolActed, ToolRan
from understudy.actors.tools.reading import reading_tools
from understudy.actors.tools.remembering import memory_tools
from understudy.actors.tools.shell import shell_tools
from understudy.actors.tools.spawning import spawning_tools
from understudy.actors.tools.toolbox import Toolbox
from understudy.config import Settings
from understudy.runtime import ActorSystem


@attrs.frozen
class Toolkit:
    """The tools of agents, those of people, and what both share."""

    of_agents: Toolbox
    of_people: Toolbox
    cache: ToolCache
    remote: RemoteTools


def toolkit(
    system: ActorSystem, settings: Settings, outbound: GuardedClient, rules: ApprovalRules, servers: Iterable[str]
) -> Toolkit:
    """All tools that the settings allow, with those of the MCP *servers* as soon as these are there.

    People are offered some of them, and none of those that want somebody's consent: there is no turn to wait in.
    """

    def ran(report: ToolRan) -> None:
        system.tell(HOST, report)
        if report.skills:
            system.tell(USAGE, report)

    def acted(act: ToolActed) -> None:
        system.tell(AUDIT, Record(executed(act, utc_now())))

    workspaces = settings.data_dir / "workspaces"
    tools = [
        *builtin_tools(outbound),
        *reading_tools(outbound),
        *file_tools(workspaces),
        *memory_tools(system),
        *job_tools(system),
        *spawning_tools(system),
        *blackboard_tools(),
        *(shell_tools(workspaces) if settings.shell_tool else ()),
    ]
    for_people = [tool for tool in tools if tool.name in OFFERED and not rules.covers(tool.name)]
    for_people.append(chat_tool(system))
    cache, remote = ToolCache(), RemoteTools(servers)
    return Toolkit(
        Toolbox(tools, report=ran, witness=acted, cache=cache, others=remote),
        Toolbox(for_people, report=ran, witness=acted, cache=cache),
        cache,
        remote,
    )
