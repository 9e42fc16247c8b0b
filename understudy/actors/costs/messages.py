"""What can be asked about money."""

from datetime import date, datetime

import attrs

from understudy.actors.agents.config import Quotas
from understudy.runtime import Ask
from understudy.storage.spending import AgentUse as AgentUse
from understudy.storage.spending import Spent as Spent

COSTS = "costs"
"""The address of the costs actor."""


@attrs.frozen
class GetSpending(Ask[Spent]):
    """What a workspace spent from day ``first`` to ``last``, both inclusive, UTC. Refused with `Unavailable`."""

    workspace_id: str
    first: date
    last: date


@attrs.frozen
class QuotaUse:
    """One quota: its name, its limit, and what is used and spoken for until it ``renews_at``.

    In tokens, or with ``money`` in micro-dollars.
    """

    name: str
    most: int
    used: int
    reserved: int
    renews_at: datetime
    money: bool = False

    @property
    def remaining(self) -> int:
        """What another turn may need; nothing when a turn has used more than there was."""
        return max(0, self.most - self.used - self.reserved)


@attrs.frozen
class AgentUsage:
    """What an agent may use in a workspace, and what it used there this hour, day and month (UTC).

    ``began`` are the beginnings of those three.
    """

    quotas: tuple[QuotaUse, ...]
    hour: AgentUse
    day: AgentUse
    month: AgentUse
    began: tuple[datetime, datetime, datetime]


@attrs.frozen
class GetAgentUsage(Ask[AgentUsage]):
    """How an agent stands that has these quotas. Refused with `Unavailable`."""

    workspace_id: str
    agent_id: str
    quotas: Quotas
