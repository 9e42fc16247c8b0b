"""What can be asked about money (contract/platform.md §10)."""

from datetime import date

import attrs

from understudy.runtime import Ask
from understudy.storage.spending import Spent as Spent

COSTS = "costs"
"""The address of the costs actor."""


@attrs.frozen
class GetSpending(Ask[Spent]):
    """What a workspace spent from day ``first`` to ``last``, both inclusive, UTC. Refused with `Unavailable`."""

    workspace_id: str
    first: date
    last: date
