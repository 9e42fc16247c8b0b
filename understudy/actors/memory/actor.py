"""The actor that remembers."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import ClassVar

import attrs

from understudy.actors.clock import utc_now
from understudy.actors.errors import Conflict, Detail, Invalid, NotFound, PreconditionFailed
from understudy.actors.made import made_id
from understudy.actors.memory.finder import Finder, strengthen
from understudy.actors.memory.merging import check_depth, check_size, merge_patch, replace_keys
from understudy.actors.memory.messages import (
    LONGEST_ENTRY,
    MEMORY,
    MOST_A_DAY,
    MOST_NOTES,
    MOST_SHARED,
    AddNote,
    Day,
    EntryView,
    Findings,
    Forget,
    ForgetEntry,
    ForgetNote,
    FoundEntry,
    GetDay,
    GetProfile,
    ListDays,
    ListNotes,
    MemoryCategory,
    MemoryTier,
    Owner,
    ProfileView,
    Remember,
    SearchMemory,
    Share,
    UpdateProfile,
)
from understudy.actors.memory.ports import MemoryKeeper, Strengthening
from understudy.actors.memory.ranking import weight_at
from understudy.actors.memory.traces import audit_line, propagated
from understudy.actors.memory.vectors import Vectors
from understudy.actors.serving import Server
from understudy.runtime import ChildSpec, Deferred, receive
from understudy.storage.errors import StoreConflict
from understudy.storage.records import AuditEntry, Json, MemoryEntry, Shelf

_STRENGTHENED = frozenset({MemoryTier.GRAPH, MemoryTier.PROCEDURAL})


class Memory(Server):
    """Keeps nothing in memory, for all its name: the database remembers, and survives a crash of this actor.

    Days are in UTC. Refusals are as in `messages`.
    """

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(
        self,
        store: MemoryKeeper,
        vectors: Vectors,
        strength: Strengthening | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._vectors = vectors
        self._strength = strength
        self._finder = Finder(store, vectors, now)
        self._now = now
        self._written = self._searched = 0
        self._by_words_alone = False

    @receive
    def get_profile(self, message: GetProfile) -> Deferred[ProfileView]:
        """What is known of a person."""
        return self.answer(message, self._profile, message)

    @receive
    def update_profile(self, message: UpdateProfile) -> Deferred[ProfileView]:
        """Change what is known of a person."""
        return self.answer(message, self._update_profile, message)

    @receive
    def list_days(self, message: ListDays) -> Deferred[tuple[Day, ...]]:
        """The last days."""
        return self.answer(message, self._days, message)

    @receive
    def get_day(self, message: GetDay) -> Deferred[Day]:
        """One day."""
        return self.answer(message, self._day, message)

    @receive
    def remember(self, message: Remember) -> Deferred[EntryView]:
        """Write an entry."""
        return self.answer(message, self._remember, message)

    @receive
    def forget_entry(self, message: ForgetEntry) -> Deferred[Day]:
        """Delete an entry."""
        return self.answer(message, self._forget_entry, message)

    @receive
    def forget(self, message: Forget) -> Deferred[None]:
        """Delete an entry of any tier."""
        return self.answer(message, self._forget, message)

    @receive
    def list_notes(self, message: ListNotes) -> Deferred[tuple[EntryView, ...]]:
        """All notes."""
        return self.answer(message, self._notes, message)

    @receive
    def add_note(self, message: AddNote) -> Deferred[tuple[EntryView, ...]]:
        """Write a note."""
        return self.answer(message, self._add_note, message)

    @receive
    def forget_note(self, message: ForgetNote) -> Deferred[tuple[EntryView, ...]]:
        """Delete a note."""
        return self.answer(message, self._forget_note, message)

    @receive
    def share(self, message: Share) -> Deferred[EntryView]:
        """Write an entry for the workspace."""
        return self.answer(message, self._share, message)

    @receive
    def search(self, message: SearchMemory) -> Deferred[Findings]:
        """Find what was remembered."""
        return self.answer(message, self._search, message)

    def snapshot(self) -> Mapping[str, object]:
        """How much was written and asked since the start, and what search stands on."""
        vectors = f"none, words alone: {self._vectors.failure or 'the database has no pgvector'}"
        vectors = vectors if self._by_words_alone else self._vectors.name
        return {"written": self._written, "searched": self._searched, "vectors": vectors}

    async def _profile(self, message: GetProfile) -> ProfileView:
        found = await self._store.profile(message.owner.uid)
        return ProfileView(found.content, found.updated_at) if found is not None else ProfileView({})

    async def _update_profile(self, message: UpdateProfile) -> ProfileView:
        check_depth(message.patch)

        def change(before: Json) -> Json:
            after: Json = (merge_patch if message.merge else replace_keys)(before, message.patch)
            return check_size(after)

        audit = self._audit("memory.profile_changed", message.owner, keys=sorted(message.patch)[:50])
        changed = await self._store.change_profile(message.owner.uid, change, audit, now=self._now())
        return ProfileView(changed.content, changed.updated_at)

    async def _days(self, message: ListDays) -> tuple[Day, ...]:
        since = (self._now() - timedelta(days=message.days - 1)).date()
        found = await self._store.days(message.owner.workspace_id, message.owner.uid, since=since)
        return tuple(Day(day, self._views(entries)) for day, entries in groupby(found, key=lambda entry: entry.day))

    async def _day(self, message: GetDay) -> Day:
        owner = message.owner
        shelf = Shelf(owner.workspace_id, owner.uid, MemoryTier.DAILY, message.day)
        return Day(message.day, self._views(await self._store.shelf(shelf)))

    async def _remember(self, message: Remember) -> EntryView:
        entry = await self._entry(message.owner, MemoryTier.DAILY, message.category, message.content)
        if message.ttl_days is not None:
            entry = attrs.evolve(entry, expires_at=entry.created_at + timedelta(days=message.ttl_days))
        there = await self._add(message.owner, entry, MOST_A_DAY, "this day has as many entries as it may")
        return next((view for view in there if view.id == entry.id), there[-1])

    async def _forget_entry(self, message: ForgetEntry) -> Day:
        owner = message.owner
        shelf = Shelf(owner.workspace_id, owner.uid, MemoryTier.DAILY, message.day)
        return Day(message.day, await self._remove(owner, shelf, message.which, message.expected))

    async def _forget(self, message: Forget) -> None:
        owner = message.owner
        audit = self._audit("memory.deleted", owner, entry=message.entry_id)
        if not await self._store.forget(owner.workspace_id, owner.uid, message.entry_id, audit):
            raise NotFound("there is no such entry")

    async def _notes(self, message: ListNotes) -> tuple[EntryView, ...]:
        return self._views(await self._store.shelf(_notes_of(message.owner)))

    async def _add_note(self, message: AddNote) -> tuple[EntryView, ...]:
        entry = await self._entry(message.owner, MemoryTier.NOTES, MemoryCategory.NOTE, message.content)
        return await self._add(message.owner, entry, MOST_NOTES, "there are as many notes as there may be")

    async def _forget_note(self, message: ForgetNote) -> tuple[EntryView, ...]:
        return await self._remove(message.owner, _notes_of(message.owner), message.which, message.expected)

    async def _share(self, message: Share) -> EntryView:
        entry = await self._entry(message.owner, MemoryTier.WORKSPACE, message.type, message.content)
        audit = self._audit("memory.shared", message.owner, type=message.type.value, entry=entry.id)
        try:
            await self._store.share(entry, audit, propagated(entry, message), most=MOST_SHARED)
        except StoreConflict as conflict:
            raise Conflict(f"the workspace has as many entries as it may, {MOST_SHARED}") from conflict
        self._written += 1
        return self._view(entry, self._now())

    async def _search(self, message: SearchMemory) -> Findings:
        found = await self._finder.find(message)
        results = tuple(
            FoundEntry(self._view(ranked.entry, found.at), ranked.score, ranked.sources) for ranked in found.ranked
        )
        self._searched += 1
        self._by_words_alone = not found.by_vectors
        used = [hit.entry.id for hit in results if hit.entry.tier in _STRENGTHENED]
        if message.for_model and used and self._strength is not None:
            self.work(strengthen, self._strength, message.owner, used, found.at, name="strengthen")
        return Findings(results, self._vectors.name if found.by_vectors else None, found.boost.name)

    async def _add(self, owner: Owner, entry: MemoryEntry, most: int, full: str) -> tuple[EntryView, ...]:
        audit = self._audit("memory.added", owner, tier=entry.tier.value, entry=entry.id)
        try:
            there = await self._store.add(entry, audit, most=most)
        except StoreConflict as conflict:
            raise Conflict(f"{full}, {most}: delete one first") from conflict
        self._written += 1
        return self._views(there)

    async def _remove(
        self, owner: Owner, shelf: Shelf, which: int | str, expected: tuple[str, ...] | None
    ) -> tuple[EntryView, ...]:
        audit = self._audit("memory.deleted", owner, tier=shelf.tier.value, entry=which)
        try:
            left = await self._store.remove(shelf, which, audit, expected=expected)
        except StoreConflict as conflict:
            raise PreconditionFailed("it was changed since you read it; read it again") from conflict
        if left is None:
            raise NotFound("there is no such entry")
        return self._views(left)

    async def _entry(self, owner: Owner, tier: MemoryTier, category: str, content: str) -> MemoryEntry:
        content = content.strip()
        if not content:
            raise Invalid("there is nothing to remember", details=(Detail("content", "too_short"),))
        if len(content) > LONGEST_ENTRY:
            raise Invalid(
                f"an entry has at most {LONGEST_ENTRY} characters",
                details=(Detail("content", "too_long", LONGEST_ENTRY),),
            )
        # Without a vector it is found by its words, until `memory.reindex` has made one.
        made = await self._vectors.of(content)
        now = self._now()
        return MemoryEntry(
            id=made_id("mem"),
            workspace_id=owner.workspace_id,
            uid=owner.uid,
            tier=tier,
            day=now.date(),
            category=category,
            content=content,
            created_at=now,
            embedder=self._vectors.name if made is not None else "",
            embedding=made[0] if made is not None else (),
        )

    def _views(self, entries: Iterable[MemoryEntry]) -> tuple[EntryView, ...]:
        return tuple(map(partial(self._view, now=self._now()), entries))

    def _view(self, entry: MemoryEntry, now: datetime) -> EntryView:
        weight = weight_at(entry, now)
        return EntryView(entry.id, entry.tier, entry.day, entry.category, entry.content, entry.created_at, weight)

    def _audit(self, event: str, owner: Owner, **metadata: object) -> AuditEntry:
        return audit_line(event, owner, self._now(), metadata)


def _notes_of(owner: Owner) -> Shelf:
    return Shelf(owner.workspace_id, owner.uid, MemoryTier.NOTES)


def memory_spec(
    store: MemoryKeeper,
    now: Callable[[], datetime] = utc_now,
    *,
    vectors: Vectors | None = None,
    strength: Strengthening | None = None,
) -> ChildSpec:
    """The child at `MEMORY`; its vectors are the built-in embedder's unless there are others."""
    return ChildSpec(MEMORY, Memory, args=(store, vectors or Vectors(now=now), strength, now))
