"""The actor that knows what was spent."""

from datetime import UTC, date, datetime, timedelta

from understudy.actors.costs.messages import COSTS, GetSpending
from understudy.actors.costs.ports import Bill
from understudy.actors.serving import Server
from understudy.runtime import ChildSpec, Deferred, receive
from understudy.storage.spending import Spent


class Costs(Server):
    """Adds up what the ends of turns have billed. It remembers nothing: no figure is older than its turn."""

    def __init__(self, bill: Bill) -> None:
        self._bill = bill

    @receive
    def spending(self, message: GetSpending) -> Deferred[Spent]:
        """One workspace's."""
        since, until = _midnight(message.first), _midnight(message.last + timedelta(days=1))
        return self.answer(message, self._bill.spent, message.workspace_id, since, until)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def costs_spec(bill: Bill) -> ChildSpec:
    """The child at `COSTS`."""
    return ChildSpec(COSTS, Costs, args=(bill,))
