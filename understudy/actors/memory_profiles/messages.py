"""What can be asked of `memory_profiles`.

Profiles are a workspace's; those of others are not to be found. Everything may be refused with `Unavailable`. A change
is committed when it is answered, and holds for every turn that begins from then on.
"""

from datetime import datetime
from typing import Annotated

import attrs
import msgspec
from msgspec import Meta

from understudy.actors.audit.messages import Author as Author
from understudy.runtime import Ask

MEMORY_PROFILES = "memory_profiles"

LONGEST_NAME = 100
LONGEST_DESCRIPTION = 1000
LONGEST_SUFFIX = 4000


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Read-only, named as the API names; unknown fields are ignored."""


class TiersEnabled(_Part, frozen=True):
    """Which tiers an agent is told of; one that is off is not even searched. ``daily`` is of notes as well."""

    session: bool = True
    daily: bool = True
    profile: bool = True
    graph: bool = True
    procedural: bool = True


class MemoryConfig(_Part, frozen=True):
    """How an agent remembers.

    ``ttlDays``: what it writes is found for so many days; null: for ever. ``minRelevanceScore`` is of scores from 0 to
    1, of which 1 is what every search put first. ``extract``: whether something is remembered of a turn without being
    told to. ``systemPromptSuffix`` ends the agent's prompt.
    """

    tiers_enabled: TiersEnabled = TiersEnabled()
    ttl_days: Annotated[int, Meta(ge=1, le=3650)] | None = None
    max_context_chunks: Annotated[int, Meta(ge=1, le=100)] = 20
    min_relevance_score: Annotated[float, Meta(ge=0, le=1)] = 0.5
    extract: bool = True
    system_prompt_suffix: Annotated[str, Meta(max_length=LONGEST_SUFFIX)] | None = None


DEFAULTS = MemoryConfig()
"""How an agent without a profile remembers."""


@attrs.frozen
class MemoryProfileView:
    """A profile."""

    id: str
    workspace_id: str
    name: str
    description: str | None
    config: MemoryConfig
    created_at: datetime
    updated_at: datetime


@attrs.frozen
class Assignment:
    """What an agent has: its profile, if any, and how it remembers by it, or by the defaults."""

    profile: MemoryProfileView | None

    @property
    def effective(self) -> MemoryConfig:
        """How the agent remembers."""
        return self.profile.config if self.profile is not None else DEFAULTS


@attrs.frozen
class CreateMemoryProfile(Ask[MemoryProfileView]):
    """A new profile. Refused with `Invalid`; `Conflict` when the name is taken or there are 100 profiles."""

    author: Author
    name: str
    description: str | None
    config: MemoryConfig


@attrs.frozen
class ListMemoryProfiles(Ask[tuple[MemoryProfileView, ...]]):
    """All profiles, by name."""

    workspace_id: str


@attrs.frozen
class GetMemoryProfile(Ask[MemoryProfileView]):
    """One profile. Refused with `NotFound`."""

    workspace_id: str
    profile_id: str


@attrs.frozen
class ChangeMemoryProfile(Ask[MemoryProfileView]):
    """Change a profile; what is unset stays. Refused as `CreateMemoryProfile`, and with `NotFound`."""

    author: Author
    profile_id: str
    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    config: MemoryConfig | msgspec.UnsetType = msgspec.UNSET


@attrs.frozen
class DeleteMemoryProfile(Ask[None]):
    """Delete a profile; agents that had it remember by the defaults. Refused with `NotFound`."""

    author: Author
    profile_id: str


@attrs.frozen
class AssignMemoryProfile(Ask[Assignment]):
    """Give an agent a profile, or with None take it away.

    Refused with `NotFound` for an unknown agent or profile, `Forbidden` for another workspace's agent.
    """

    author: Author
    agent_id: str
    profile_id: str | None


@attrs.frozen
class GetAssignment(Ask[Assignment]):
    """What an agent has. Refused as `AssignMemoryProfile`."""

    workspace_id: str
    agent_id: str


@attrs.frozen
class ResolveMemory(Ask[MemoryConfig]):
    """How an agent of this workspace remembers; asks nobody whether there is one.

    ``profile_id`` is what the agent's own configuration names: it counts while nothing is assigned. Does not block when
    it was asked for in the last 30 s.
    """

    workspace_id: str
    agent_id: str
    profile_id: str | None = None
