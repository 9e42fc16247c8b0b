"""What an agent's prompt is told of the user and of earlier days, when it asks for it by its placeholders."""

import logging
from collections.abc import Mapping

import msgspec

from understudy.actors.agents.template import placeholders
from understudy.actors.asking import Asker
from understudy.actors.errors import DomainError
from understudy.actors.memory.messages import (
    ALL_TIERS,
    LONGEST_QUERY,
    MEMORY,
    GetProfile,
    MemoryTier,
    Owner,
    ProfileView,
    SearchMemory,
)
from understudy.actors.memory_profiles.messages import DEFAULTS, MEMORY_PROFILES, MemoryConfig, ResolveMemory
from understudy.actors.session.context import SUFFIX
from understudy.runtime import RuntimeFault
from understudy.storage.records import SessionKey

PATIENCE = 2.0
"""Seconds that a turn waits for what is remembered; it goes on without, rather than not at all."""

_MEMORY = "memory"
_PROFILE = "user.profile."

log = logging.getLogger(__name__)


class Recall:
    """Values for the placeholders ``memory`` and ``user.profile.…``, as the agent's memory profile has it.

    A prompt without them costs one question that is answered from what is at hand.
    """

    def __init__(self, system: Asker) -> None:
        self._system = system

    async def __call__(
        self,
        template: str,
        key: SessionKey,
        asked: str,
        profile_id: str | None = None,
        session_id: str | None = None,
    ) -> Mapping[str, str]:
        """What *template* wants to know of the user who *asked*, and what ends it; nothing when memory is away.

        *profile_id* is the memory profile that the agent's configuration names; the session is left out of its tier.
        """
        known: dict[str, str] = {}
        try:
            config = await memory_config(self._system, key, profile_id)
            if config.system_prompt_suffix:
                known[SUFFIX] = config.system_prompt_suffix
            names = placeholders(template)
            of_profile = sorted(name for name in names if name.startswith(_PROFILE))
            if not of_profile and _MEMORY not in names:
                return known
            owner = Owner(key.workspace_id, key.uid, agent_id=key.agent_id, session_id=session_id)
            told = {}
            profile = ProfileView({})
            if config.tiers_enabled.profile:
                profile = await self._system.ask(MEMORY, GetProfile(owner), timeout=PATIENCE)
            for name in of_profile:
                told[name] = _text(_at(profile.content, name.removeprefix(_PROFILE)))
            if _MEMORY in names:
                told[_MEMORY] = await self._memory(owner, config, profile, asked)
        except (DomainError, RuntimeFault) as error:
            log.warning("a turn goes on without what is remembered: %s", error)
            return known
        return known | told

    async def _memory(self, owner: Owner, config: MemoryConfig, profile: ProfileView, asked: str) -> str:
        """The profile whole, and what fits the question best."""
        lines = []
        if profile.content:
            lines.append(f"What is known of the user: {_text(profile.content)}")
        query = asked.strip()[:LONGEST_QUERY]
        if query:
            search = SearchMemory(
                owner,
                query,
                config.max_context_chunks,
                for_model=True,
                tiers=tiers_of(config),
                least=config.min_relevance_score,
            )
            found = await self._system.ask(MEMORY, search, timeout=PATIENCE)
            lines += [f"- {hit.entry.content} ({hit.entry.category}, {hit.entry.day})" for hit in found.results]
        return "\n".join(lines)


async def memory_config(system: Asker, key: SessionKey, profile_id: str | None = None) -> MemoryConfig:
    """How the agent of *key* remembers; by the defaults while nobody can be asked. Raises a `RuntimeFault` never."""
    try:
        resolve = ResolveMemory(key.workspace_id, key.agent_id, profile_id)
        return await system.ask(MEMORY_PROFILES, resolve, timeout=PATIENCE)
    except (DomainError, RuntimeFault) as error:
        log.warning("an agent remembers by the defaults: %s", error)
        return DEFAULTS


def tiers_of(config: MemoryConfig) -> frozenset[MemoryTier]:
    """The tiers that are searched; notes go with the daily entries, and what the workspace shares is always there."""
    on = config.tiers_enabled
    off = set()
    if not on.session:
        off.add(MemoryTier.SESSION)
    if not on.daily:
        off |= {MemoryTier.DAILY, MemoryTier.NOTES}
    if not on.graph:
        off.add(MemoryTier.GRAPH)
    if not on.procedural:
        off.add(MemoryTier.PROCEDURAL)
    return ALL_TIERS - off


def _at(value: object, path: str) -> object:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
