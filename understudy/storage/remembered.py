"""What memory is made of beside its entries, as it is stored: values for the actors, like those of `records`."""

from datetime import datetime

import attrs

from understudy.storage.records import Json


@attrs.frozen
class MemoryProfile:
    """How agents remember, under a name that is one of a kind in its workspace. ``config`` is complete."""

    id: str
    workspace_id: str
    name: str
    description: str | None
    config: Json
    created_at: datetime
    updated_at: datetime
