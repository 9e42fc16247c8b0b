"""What came of a look, before anybody is woken."""

from collections.abc import Mapping

import attrs

from understudy.storage.heartbeat_records import RunStatus
from understudy.storage.records import Json

BODY_LIMIT = 1_048_576
REDIRECTS = 3
LOOK_SECONDS = 10.0


@attrs.frozen
class Verdict:
    """The look's outcome; with a ``message``, the agent is to be told it, and the rest holds once it has been.

    ``failed`` says that there was nothing to be learnt: it counts among the errors in a row, also when somebody is
    woken because of it. ``state`` None leaves the stored one as it was. ``note`` is what the run's ``error`` shows.
    """

    status: RunStatus
    state: Json | None = None
    message: str | None = None
    item_count: int = 0
    http_status: int | None = None
    note: str | None = None
    failed: bool = False
    seen: Mapping[str, tuple[bytes, ...]] = attrs.field(factory=dict)
    watched: tuple[str, ...] = ()
