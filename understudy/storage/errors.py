"""What storage can say went wrong, divided by what the caller can do next.

StorageError
  StoreUnavailable    PostgreSQL is away: wait ``retry_after`` seconds and try again
  Fenced              somebody newer owns this session: stop writing
  StoreConflict       it contradicts what is stored (a taken e-mail, a reused key): tell the caller
  NotAllowed          whoever asked may not, by what the same transaction read: tell them
  Missing             what it is about is not there: tell the caller
  QuotaExceeded       an allowance does not suffice: ``which`` of those asked for
  Unstorable          the values themselves cannot be stored: do not try again
  EmbeddedError       the embedded server could not be made or started: the message says why
    DataDirectoryInUse  another live server owns the embedded database: choose another directory
  MigrationError      the schema is not one this version can use
"""


class StorageError(Exception):
    """Base of everything raised by `understudy.storage`."""


class StoreUnavailable(StorageError):
    """PostgreSQL could not be reached in time. Nothing is known to be lost; try again after ``retry_after`` seconds."""

    def __init__(self, message: str = "the database is unavailable", *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Fenced(StorageError):
    """A newer incarnation owns the session: what this one still wanted to write is void."""


class StoreConflict(StorageError):
    """The write contradicts a uniqueness rule; ``what`` names it (``email``, ``idempotency_key``)."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is taken")
        self.what = what


class NotAllowed(StorageError):
    """The role of whoever asked does not suffice; ``what`` names the rule (``role``, ``owners``)."""

    def __init__(self, what: str) -> None:
        super().__init__(f"not allowed: {what}")
        self.what = what


class Missing(StorageError):
    """There is no such thing in reach of whoever asked; ``what`` names it (``user``, ``agent``)."""

    def __init__(self, what: str) -> None:
        super().__init__(f"there is no such {what}")
        self.what = what


class QuotaExceeded(StorageError):
    """What a turn wanted to reserve is not there; ``which`` is the place of the allowance among those it named."""

    def __init__(self, which: int) -> None:
        super().__init__("an allowance is used up")
        self.which = which


class Unstorable(StorageError):
    """A value breaks a rule of the schema (a check, a missing parent, a range): trying again cannot help."""


class EmbeddedError(StorageError):
    """The embedded server cannot be made, started or stopped; the message is one sentence for the operator."""


class DataDirectoryInUse(EmbeddedError):
    """A live server already uses the embedded database's directory."""


class MigrationError(StorageError):
    """A migration failed, or one that ran before has changed since."""
