"""The actor that knows what was spent."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import attrs

from understudy.actors.clock import utc_now
from understudy.actors.costs.messages import COSTS, AgentUsage, GetAgentUsage, GetSpending, QuotaUse
from understudy.actors.costs.ports import Bill
from understudy.actors.costs.quotas import Beginnings, bounds
from understudy.actors.serving import Server
from understudy.runtime import ChildSpec, Deferred, receive
from understudy.storage.spending import Spent


class Costs(Server):
    """Adds up what the ends of turns have billed. It remembers nothing: no figure is older than its turn."""

    def __init__(self, bill: Bill, now: Callable[[], datetime] = utc_now) -> None:
        self._bill = bill
        self._now = now

    @receive
    def spending(self, message: GetSpending) -> Deferred[Spent]:
        """One workspace's."""
        since, until = _midnight(message.first), _midnight(message.last + timedelta(days=1))
        return self.answer(message, self._bill.spent, message.workspace_id, since, until)

    @receive
    def usage(self, message: GetAgentUsage) -> Deferred[AgentUsage]:
        """One agent's."""
        return self.answer(message, self._usage, message)

    async def _usage(self, asked: GetAgentUsage) -> AgentUsage:
        now = self._now()
        began = attrs.astuple(Beginnings.at(now))
        quotas = []
        for each in bounds(asked.quotas, asked.workspace_id, asked.agent_id, now=now):
            used, reserved = await self._bill.counter(each.scope, each.starts)
            quotas.append(QuotaUse(each.name, each.most, used, reserved, each.ends, each.money))
        hour, day, month = await self._bill.used_by_agent(asked.workspace_id, asked.agent_id, began)
        return AgentUsage(tuple(quotas), hour, day, month, began)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def costs_spec(bill: Bill, now: Callable[[], datetime] = utc_now) -> ChildSpec:
    """The child at `COSTS`."""
    return ChildSpec(COSTS, Costs, args=(bill, now))
