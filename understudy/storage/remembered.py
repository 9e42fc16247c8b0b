"""What memory is made of beside its entries, as it is stored: values for the actors, like those of `records`."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import attrs

from understudy.storage.records import Json, MemoryEntry, MemoryTier

Vector = tuple[float, ...]

Sift: TypeAlias = Callable[[Sequence[MemoryEntry], Sequence[str]], Sequence[MemoryEntry]]
"""Of new entries those that say something else than these texts, and than each other."""


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


class EntityType(StrEnum):
    """What a thing in the graph is."""

    PERSON = "person"
    TEAM = "team"
    EVENT = "event"
    CONCEPT = "concept"
    MARKET = "market"
    OUTCOME = "outcome"
    DOCUMENT = "document"


class Relation(StrEnum):
    """How two things in the graph hang together."""

    PLAYS_FOR = "plays_for"
    RELATED_TO = "related_to"
    CAUSED_BY = "caused_by"
    CONTRADICTS = "contradicts"
    SUPPORTS = "supports"
    PART_OF = "part_of"
    PRECEDED_BY = "preceded_by"
    CORRELATED_WITH = "correlated_with"
    MENTIONED_IN = "mentioned_in"
    USER_NOTED = "user_noted"


@attrs.frozen
class Entity:
    """A thing that is known of; ``entry`` is what is known, and what it is found by."""

    entry: MemoryEntry
    name: str
    type: EntityType

    @property
    def key(self) -> str:
        """The name in the one form that all of its mentions have."""
        return key_of(self.name)


@attrs.frozen
class Edge:
    """That two things hang together, by their keys."""

    source: str
    target: str
    relation: Relation


@attrs.frozen
class Procedure:
    """How something is done: what calls for it, and the steps."""

    entry: MemoryEntry
    trigger: str
    steps: tuple[str, ...]

    @property
    def key(self) -> str:
        """What calls for it, in one form."""
        return key_of(self.trigger)


@attrs.frozen
class Lesson:
    """What is to be remembered of one turn. ``profile`` is a merge patch of what is known of the person."""

    daily: tuple[MemoryEntry, ...] = ()
    profile: Json = attrs.field(factory=dict)
    entities: tuple[Entity, ...] = ()
    edges: tuple[Edge, ...] = ()
    procedures: tuple[Procedure, ...] = ()


@attrs.frozen
class Scope:
    """What a search is over: whose entries of which tiers, as of when.

    ``faded`` leaves out daily entries of before; ``besides`` is a session whose messages are left out.
    """

    workspace_id: str
    uid: str
    now: datetime
    tiers: frozenset[MemoryTier] = frozenset(MemoryTier)
    faded: datetime | None = None
    besides: str | None = None


def key_of(name: str) -> str:
    """A name in one form: its letters and digits in lower case, a space between words."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", name).casefold()))
