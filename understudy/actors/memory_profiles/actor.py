"""The actor that knows how each agent remembers."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar

import attrs
import msgspec
import trio

from understudy.actors.agents.messages import AGENTS, GetAgent
from understudy.actors.audit.messages import act_of
from understudy.actors.clock import utc_now
from understudy.actors.errors import Conflict, Detail, Invalid, NotFound, Unavailable
from understudy.actors.lru import Lru
from understudy.actors.made import is_keyed, made_id
from understudy.actors.memory_profiles.messages import (
    DEFAULTS,
    LONGEST_DESCRIPTION,
    LONGEST_NAME,
    MEMORY_PROFILES,
    AssignMemoryProfile,
    Assignment,
    Author,
    ChangeMemoryProfile,
    CreateMemoryProfile,
    DeleteMemoryProfile,
    GetAssignment,
    GetMemoryProfile,
    ListMemoryProfiles,
    MemoryConfig,
    MemoryProfileView,
    ResolveMemory,
)
from understudy.actors.memory_profiles.ports import ProfileStore
from understudy.actors.serving import Server
from understudy.runtime import ChildSpec, Deferred, RuntimeFault, receive
from understudy.storage.errors import StoreConflict
from understudy.storage.records import AuditEntry
from understudy.storage.remembered import MemoryProfile

MAX_AGE = 30.0
"""Seconds that an assignment is believed without asking the database: another node may have changed it."""
REMEMBERED = 10_000
PATIENCE = 10.0


class MemoryProfiles(Server):
    """Resolves from what it read in the last 30 s; what people look at comes from the database.

    A change made here holds at once.
    """

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(self, store: ProfileStore, now: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._now = now
        self._known: Lru[tuple[str, str, str | None], tuple[float, MemoryConfig]] = Lru(REMEMBERED)
        self._generation = 0
        self._hits = self._misses = 0

    @receive
    def resolve(self, message: ResolveMemory) -> MemoryConfig | Deferred[MemoryConfig]:
        """How an agent remembers."""
        known = self._known.get((message.workspace_id, message.agent_id, message.profile_id))
        if known is not None and trio.current_time() - known[0] <= MAX_AGE:
            self._hits += 1
            return known[1]
        self._misses += 1
        return self.answer(message, self._resolve, message)

    @receive
    def list_profiles(self, message: ListMemoryProfiles) -> Deferred[tuple[MemoryProfileView, ...]]:
        """All profiles."""
        return self.answer(message, self._list, message.workspace_id)

    @receive
    def get(self, message: GetMemoryProfile) -> Deferred[MemoryProfileView]:
        """One profile."""
        return self.answer(message, self._get, message.workspace_id, message.profile_id)

    @receive
    def create(self, message: CreateMemoryProfile) -> Deferred[MemoryProfileView]:
        """Make a profile."""
        return self.answer(message, self._create, message)

    @receive
    def change(self, message: ChangeMemoryProfile) -> Deferred[MemoryProfileView]:
        """Change a profile."""
        return self.answer(message, self._change, message)

    @receive
    def delete(self, message: DeleteMemoryProfile) -> Deferred[None]:
        """Delete a profile."""
        return self.answer(message, self._delete, message)

    @receive
    def assign(self, message: AssignMemoryProfile) -> Deferred[Assignment]:
        """Give an agent a profile."""
        return self.answer(message, self._assign, message)

    @receive
    def assignment(self, message: GetAssignment) -> Deferred[Assignment]:
        """What an agent has."""
        return self.answer(message, self._assignment, message.workspace_id, message.agent_id)

    def snapshot(self) -> Mapping[str, object]:
        """What is remembered, and how well that serves."""
        return {"known": len(self._known), "hits": self._hits, "misses": self._misses}

    async def _resolve(self, message: ResolveMemory) -> MemoryConfig:
        generation = self._generation
        profile = await self._store.assigned(message.workspace_id, message.agent_id)
        if profile is None and message.profile_id is not None:
            profile = await self._store.find(message.workspace_id, message.profile_id)
        config = _view(profile).config if profile is not None else DEFAULTS
        if generation == self._generation:  # else what was read may be older than a change made meanwhile
            self._known.put((message.workspace_id, message.agent_id, message.profile_id), (trio.current_time(), config))
        return config

    async def _list(self, workspace_id: str) -> tuple[MemoryProfileView, ...]:
        return tuple(map(_view, await self._store.list(workspace_id)))

    async def _get(self, workspace_id: str, profile_id: str) -> MemoryProfileView:
        found = await self._store.find(workspace_id, profile_id)
        if found is None:
            raise NotFound("there is no such memory profile")
        return _view(found)

    async def _create(self, message: CreateMemoryProfile) -> MemoryProfileView:
        now = self._now()
        profile = MemoryProfile(
            made_id("mpr"),
            message.author.workspace_id,
            _name(message.name),
            _described(message.description),
            msgspec.to_builtins(message.config),
            now,
            now,
        )
        audit = self._audit("memory_profile.created", message.author, profile=profile.id, name=profile.name)
        try:
            await self._store.create(profile, audit)
        except StoreConflict as conflict:
            raise _conflict(conflict, profile.name) from conflict
        return await self._get(profile.workspace_id, profile.id) if is_keyed() else _view(profile)

    async def _change(self, message: ChangeMemoryProfile) -> MemoryProfileView:
        before = await self._get(message.author.workspace_id, message.profile_id)
        name = before.name if message.name is msgspec.UNSET else message.name
        description = before.description if message.description is msgspec.UNSET else message.description
        config = before.config if message.config is msgspec.UNSET else message.config
        profile = MemoryProfile(
            before.id,
            before.workspace_id,
            _name(name),
            _described(description),
            msgspec.to_builtins(config),
            before.created_at,
            self._now(),
        )
        audit = self._audit("memory_profile.changed", message.author, profile=profile.id, name=profile.name)
        try:
            changed = await self._store.replace(profile, audit)
        except StoreConflict as conflict:
            raise _conflict(conflict, profile.name) from conflict
        finally:
            self._forget()
        if changed is None:
            raise NotFound("there is no such memory profile")
        return _view(changed)

    async def _delete(self, message: DeleteMemoryProfile) -> None:
        audit = self._audit("memory_profile.deleted", message.author, profile=message.profile_id)
        try:
            gone = await self._store.delete(message.author.workspace_id, message.profile_id, audit)
        finally:
            self._forget()
        if not gone:
            raise NotFound("there is no such memory profile")

    async def _assign(self, message: AssignMemoryProfile) -> Assignment:
        author = message.author
        await self._agent(author.workspace_id, message.agent_id)
        audit = self._audit("memory_profile.assigned", author, agent_id=message.agent_id, profile=message.profile_id)
        try:
            there = await self._store.assign(
                author.workspace_id, message.agent_id, message.profile_id, audit, now=self._now()
            )
        finally:
            self._forget()
        if not there:
            raise NotFound("there is no such memory profile")
        return await self._assignment(author.workspace_id, message.agent_id)

    async def _assignment(self, workspace_id: str, agent_id: str) -> Assignment:
        named = await self._agent(workspace_id, agent_id)
        profile = await self._store.assigned(workspace_id, agent_id)
        if profile is None and named is not None:
            profile = await self._store.find(workspace_id, named)
        return Assignment(_view(profile) if profile is not None else None)

    async def _agent(self, workspace_id: str, agent_id: str) -> str | None:
        """The profile that the agent's configuration names. Raises what the agents refuse with."""
        try:
            agent = await self.system.ask(AGENTS, GetAgent(workspace_id, agent_id), timeout=PATIENCE)
        except RuntimeFault as fault:
            raise Unavailable("the agents cannot be asked at the moment; try again", retry_after=1.0) from fault
        return agent.document.memory_profile_id

    def _forget(self) -> None:
        """Changes are rare: all that is remembered goes, also when it is unknown whether the change was made."""
        self._generation += 1
        self._known = Lru(REMEMBERED)

    def _audit(self, event: str, author: Author, agent_id: str | None = None, **metadata: object) -> AuditEntry:
        return act_of(author, event, self._now(), metadata, agent_id=agent_id)


def _name(name: str) -> str:
    name = name.strip()
    if not name:
        raise Invalid("name: there must be more than spaces", details=(Detail("name", "too_short"),))
    if len(name) > LONGEST_NAME:
        raise Invalid(
            f"name: must have at most {LONGEST_NAME} characters", details=(Detail("name", "too_long", LONGEST_NAME),)
        )
    return name


def _described(description: str | None) -> str | None:
    if description is not None and len(description) > LONGEST_DESCRIPTION:
        raise Invalid(
            f"description: must have at most {LONGEST_DESCRIPTION} characters",
            details=(Detail("description", "too_long", LONGEST_DESCRIPTION),),
        )
    return description


def _conflict(conflict: StoreConflict, name: str) -> Conflict:
    if conflict.what == "number of memory profiles":
        return Conflict("the workspace has as many memory profiles as it may: delete one first")
    return Conflict(f"there is a memory profile named {name!r} already")


def _view(profile: MemoryProfile) -> MemoryProfileView:
    known = attrs.asdict(profile, recurse=False)
    return MemoryProfileView(**known | {"config": msgspec.convert(profile.config, MemoryConfig)})


def memory_profiles_spec(store: ProfileStore, now: Callable[[], datetime] = utc_now) -> ChildSpec:
    """The child at `MEMORY_PROFILES`."""
    return ChildSpec(MEMORY_PROFILES, MemoryProfiles, args=(store, now))
