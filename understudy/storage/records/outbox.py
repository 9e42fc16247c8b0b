"""Published facts on their way out."""

from datetime import datetime

import attrs


@attrs.frozen
class OutboxItem:
    """A published fact on its way out; ``attempts`` counts this claim too."""

    id: str
    topic: str
    workspace_id: str | None
    payload: bytes
    created_at: datetime
    attempts: int
