"""What a provider gave us with its tool calls and wants to see again beside their results."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Keepsakes(Generic[T]):
    """Opaque values by the id of a tool call, the newest *limit* of them.

    Signatures of a model's thinking are of use only while the turn that made them goes on, so they are not stored: what
    was forgotten here, by age or with the process, the dialect must be able to do without.
    """

    def __init__(self, limit: int = 512) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, T] = OrderedDict()

    def keep(self, call_id: str, value: T) -> None:
        """Remember *value*; the oldest is forgotten for it."""
        self._kept[call_id] = value
        self._kept.move_to_end(call_id)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def of(self, call_id: str) -> T | None:
        """What was kept with this call."""
        return self._kept.get(call_id)
