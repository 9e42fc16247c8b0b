"""Messages that keep crashing an actor, recognised by being equal."""

from __future__ import annotations

_REMEMBERED = 16
_FORGET_AFTER = 60.0


class Poison:
    """Counts crashes per equal message. Forgets a message that has not crashed the actor for a minute.

    The cause may have been elsewhere (a database that was away), so nothing is poison for ever.
    """

    __slots__ = ("_counts", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: list[tuple[object, int, float]] = []

    def crashed(self, message: object, now: float) -> None:
        """Note that *message* crashed the actor."""
        count = 1
        for index, (known, before, _) in enumerate(self._counts):
            if type(known) is type(message) and known == message:
                count = before + 1
                del self._counts[index]
                break
        self._counts.append((message, count, now))
        del self._counts[:-_REMEMBERED]

    def contains(self, message: object, now: float) -> bool:
        """Whether *message* is not to be tried any more."""
        return any(
            count >= self._limit and now - at < _FORGET_AFTER and type(known) is type(message) and known == message
            for known, count, at in self._counts
        )
