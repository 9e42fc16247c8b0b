"""Who tells presence what, and who may ask."""

import attrs

from understudy.actors.session.messages import Presence as Presence
from understudy.runtime import Ask

PRESENCE = "presence"
"""The address of the presence actor."""


@attrs.frozen
class PresenceChanged:
    """Tell to `PRESENCE`: a session's agent does something else than before."""

    presence: Presence


@attrs.frozen
class PresenceGone:
    """Tell to `PRESENCE`: a session's actor has left; nothing is done in it at the moment."""

    session_id: str


@attrs.frozen
class AnnouncePresence:
    """Tell from `PRESENCE` to each live session: it has forgotten everything; send `PresenceChanged` again."""


@attrs.frozen
class ListPresence(Ask[tuple[Presence, ...]]):
    """What the live agents of a user do in a workspace, newest change first. Does not block."""

    uid: str
    workspace_id: str
