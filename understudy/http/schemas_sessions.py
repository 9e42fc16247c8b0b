"""The JSON of `/sessions` beside what chats share: what was found, and who goes on."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from understudy.actors.session.messages import SessionStatus
from understudy.http.schemas import Offset, Slug, Surface, Wire

Reason = Annotated[str, Meta(min_length=1, max_length=500)]


class SessionsQuery(Wire, frozen=True):
    """Which sessions."""

    status: SessionStatus | None = None
    agent_id: Slug | None = None
    surface: Surface | None = None
    workspace_id: Slug | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    offset: Offset = 0


class SessionQuery(Wire, frozen=True):
    """How many messages, and before which."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    before: Slug | None = None
    workspace_id: Slug | None = None


class EventsQuery(Wire, frozen=True):
    """Events after which one, and whether to wait for those to come."""

    after: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    follow: bool = True


class MessagesQuery(Wire, frozen=True):
    """What to look for, as search boxes take it: `"a phrase"`, `this or that`, `-without`."""

    q: Annotated[str, Meta(min_length=1, max_length=500)]
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class FoundMessage(Wire, frozen=True):
    """A message that was found.

    ``snippet`` is HTML: the text escaped, the hits in `<mark>`. ``score`` is between 0 and 1; one hit is 0.5.
    """

    session_id: str
    message_id: str
    workspace_id: str
    agent_id: str
    role: str
    snippet: str
    score: float
    created_at: datetime


class FoundMessages(Wire, frozen=True):
    """Messages that have all the words, best first."""

    results: list[FoundMessage]


class HandOffRequest(Wire, frozen=True):
    """Who goes on, and why. ``targetAgentId`` is another name of ``agentId``."""

    agent_id: Slug | None = None
    target_agent_id: Slug | None = None
    reason: Reason | None = None
