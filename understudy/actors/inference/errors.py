"""How an upstream call fails, with what the retry rule and the circuit breaker need to know.

ProviderFailed
  UpstreamFailed     the provider answered with an error, cut its answer short or could not be reached
    ContextTooLong   ... the conversation is more than the model can read
TimedOut
  UpstreamTimedOut   the provider was too slow; ``phase`` says at what
"""

from understudy.actors.errors import ProviderFailed, TimedOut


class UpstreamFailed(ProviderFailed):
    """A provider's failure. ``status`` is the HTTP status, None when there was none.

    ``retryable`` is True only when nothing of the answer had come and another attempt may help.
    ``at_fault`` is False when the provider works and our request was wrong (4xx other than 408 and 429).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retryable: bool = False,
        at_fault: bool = True,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status = status
        self.retryable = retryable
        self.at_fault = at_fault

    @property
    def elsewhere(self) -> bool:
        """Whether another provider may do better: this one is at fault, or knows no such key or model."""
        return self.at_fault or self.status in {401, 402, 403, 404}


class ContextTooLong(UpstreamFailed):
    """The conversation is longer than the model reads; a shorter one may be answered."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message, status=status, at_fault=False)


class UpstreamTimedOut(TimedOut):
    """A provider's slowness. ``phase`` is ``connect``, ``first token``, ``idle`` or ``total``."""

    def __init__(self, message: str, *, phase: str) -> None:
        super().__init__(message)
        self.phase = phase

    @property
    def retryable(self) -> bool:
        """Only a connection that never came about may be tried again: the model has not begun to work."""
        return self.phase == "connect"

    @property
    def elsewhere(self) -> bool:
        """Another provider may be quicker."""
        return True
