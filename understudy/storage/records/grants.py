"""What one workspace allows the members of another."""

from datetime import datetime

import attrs


@attrs.frozen
class Grant:
    """That the members of one workspace may run an agent of another, until ``expires_at`` if there is one.

    A ``readonly`` grant lets them talk to it, and not start sub-agents from it.
    """

    id: str
    granting_workspace_id: str
    receiving_workspace_id: str
    agent_id: str
    readonly: bool
    expires_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime

    def counts(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now < self.expires_at
