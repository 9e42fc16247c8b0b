"""The JSON of `/memory-profiles`."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from understudy.actors.memory_profiles.messages import LONGEST_DESCRIPTION, LONGEST_NAME, MemoryConfig
from understudy.http.schemas import Wire

Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME, pattern=r"\S")]
Description = Annotated[str, Meta(max_length=LONGEST_DESCRIPTION)]


class NewMemoryProfile(Wire, frozen=True):
    """A profile; what its configuration leaves out has its default."""

    name: Name
    description: Description | None = None
    config: MemoryConfig = MemoryConfig()


class MemoryProfileChange(Wire, frozen=True):
    """What is to be changed; a configuration that leaves something out has its default there."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    config: MemoryConfig | UnsetType = UNSET


class MemoryProfile(Wire, frozen=True):
    """A profile."""

    id: str
    workspace_id: str
    name: str
    description: str | None
    config: MemoryConfig
    created_at: datetime
    updated_at: datetime


class MemoryProfileList(Wire, frozen=True):
    """All profiles of the workspace, by name."""

    profiles: list[MemoryProfile]


class ProfileChoice(Wire, frozen=True):
    """The profile that an agent is to have; null for none."""

    profile_id: Annotated[str, Meta(min_length=1, max_length=64)] | None


class AgentMemoryProfile(Wire, frozen=True):
    """The profile that an agent has, if any, and how it remembers: by the profile or by the defaults."""

    agent_id: str
    profile: MemoryProfile | None
    effective: MemoryConfig
