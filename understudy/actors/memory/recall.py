"""What an agent's prompt is told of the user and of earlier days, when it asks for it by its placeholders."""

import logging
from collections.abc import Awaitable, Mapping
from typing import Protocol, TypeVar

import msgspec

from understudy.actors.agents.template import placeholders
from understudy.actors.errors import DomainError
from understudy.actors.memory.messages import LONGEST_QUERY, MEMORY, GetProfile, Owner, ProfileView, SearchMemory
from understudy.runtime import Ask, RuntimeFault
from understudy.storage.records import SessionKey

MOST_RECALLED = 20
"""Entries; they are at most 2,000 characters each."""
PATIENCE = 2.0
"""Seconds that a turn waits for what is remembered; it goes on without, rather than not at all."""

_MEMORY = "memory"
_PROFILE = "user.profile."

log = logging.getLogger(__name__)

R = TypeVar("R")


class Asker(Protocol):
    """Whoever can ask an actor; `understudy.runtime.ActorSystem` can."""

    def ask(self, address: str, message: Ask[R], timeout: float | None = None) -> Awaitable[R]:
        """The actor's answer."""
        ...


class Recall:
    """Values for the placeholders ``memory`` and ``user.profile.…``. A prompt without them costs nothing."""

    def __init__(self, system: Asker) -> None:
        self._system = system

    async def __call__(self, template: str, key: SessionKey, asked: str) -> Mapping[str, str]:
        """What *template* wants to know of the user who *asked*; nothing when memory is away."""
        names = placeholders(template)
        of_profile = sorted(name for name in names if name.startswith(_PROFILE))
        if not of_profile and _MEMORY not in names:
            return {}
        owner = Owner(key.workspace_id, key.uid)
        try:
            profile = await self._system.ask(MEMORY, GetProfile(owner), timeout=PATIENCE)
            known = {name: _text(_at(profile.content, name.removeprefix(_PROFILE))) for name in of_profile}
            if _MEMORY in names:
                known[_MEMORY] = await self._memory(owner, profile, asked)
        except (DomainError, RuntimeFault) as error:
            log.warning("a turn goes on without what is remembered: %s", error)
            return {}
        return known

    async def _memory(self, owner: Owner, profile: ProfileView, asked: str) -> str:
        """The profile whole, and what fits the question best."""
        lines = []
        if profile.content:
            lines.append(f"What is known of the user: {_text(profile.content)}")
        query = asked.strip()[:LONGEST_QUERY]
        if query:
            search = SearchMemory(owner, query, MOST_RECALLED, for_model=True)
            found = await self._system.ask(MEMORY, search, timeout=PATIENCE)
            lines += [f"- {hit.entry.content} ({hit.entry.category}, {hit.entry.day})" for hit in found.results]
        return "\n".join(lines)


def _at(value: object, path: str) -> object:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
