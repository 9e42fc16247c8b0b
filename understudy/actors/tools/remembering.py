"""Tools with which agents remember what people tell them, and find it again."""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from understudy.actors.asking import Asker
from understudy.actors.errors import DomainError
from understudy.actors.memory.messages import (
    LONGEST_ENTRY,
    LONGEST_QUERY,
    MEMORY,
    AddNote,
    Findings,
    GetProfile,
    MemoryCategory,
    MemoryTier,
    Owner,
    Remember,
    SearchMemory,
    Share,
    UpdateProfile,
    WorkspaceType,
)
from understudy.actors.memory.recall import memory_config, tiers_of
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.tool import Arguments, Tool, ToolFailed
from understudy.runtime import Ask, RuntimeFault
from understudy.storage.records import SessionKey

MOST_FOUND = 20
PATIENCE = 15.0

R = TypeVar("R")


class MemoryWrite(Arguments, frozen=True):
    """Arguments of ``memory_write``."""

    content: Annotated[
        str, Meta(min_length=1, max_length=LONGEST_ENTRY, description="one fact, as a sentence that stands alone")
    ]
    category: MemoryCategory = MemoryCategory.NOTE


class MemorySearch(Arguments, frozen=True, rename="camel"):
    """Arguments of ``memory_search``."""

    query: Annotated[str, Meta(min_length=1, max_length=LONGEST_QUERY, description="what to look for, in words")]
    top_k: Annotated[int, Meta(ge=1, le=MOST_FOUND)] = 5


class WorkspaceMemoryWrite(Arguments, frozen=True):
    """Arguments of ``workspace_memory_write``."""

    content: Annotated[
        str, Meta(min_length=1, max_length=LONGEST_ENTRY, description="what all should know, as it stands alone")
    ]
    type: WorkspaceType = WorkspaceType.NOTE


class NoteAdd(Arguments, frozen=True):
    """Arguments of ``note_add``."""

    note: Annotated[str, Meta(min_length=1, max_length=LONGEST_ENTRY)]


class ProfileGet(Arguments, frozen=True):
    """Arguments of ``profile_get``: none."""


class ProfileUpdate(Arguments, frozen=True):
    """Arguments of ``profile_update``."""

    patch: Annotated[dict[str, Any], Meta(description="a JSON merge patch: objects are merged, null takes a key away")]


def memory_tools(system: Asker) -> list[Tool]:
    """The tools, on the memory of *system*. Whose memory it is, the turn decides and never the model."""

    async def ask(message: Ask[R]) -> R:
        try:
            return await system.ask(MEMORY, message, timeout=PATIENCE)
        except DomainError as refusal:
            raise ToolFailed(refusal.message) from refusal
        except RuntimeFault as fault:
            raise ToolFailed("memory is away for the moment") from fault

    async def memory_write(arguments: MemoryWrite, context: ToolContext) -> str:
        config = await memory_config(system, _key(context), context.memory_profile_id)
        await ask(Remember(_owner(context), arguments.content, arguments.category, config.ttl_days))
        return f"remembered: {arguments.content.strip()}"

    async def memory_search(arguments: MemorySearch, context: ToolContext) -> str:
        config = await memory_config(system, _key(context), context.memory_profile_id)
        # Not in what was said: whoever has a memory deleted wants it gone, and what was said is not edited for that.
        tiers = tiers_of(config) - {MemoryTier.SESSION}
        asked = SearchMemory(_owner(context), arguments.query, arguments.top_k, for_model=True, tiers=tiers)
        return _shown(await ask(asked))

    async def workspace_memory_write(arguments: WorkspaceMemoryWrite, context: ToolContext) -> str:
        shared = await ask(Share(_owner(context), arguments.content, arguments.type))
        return f"everybody in the workspace knows now: {shared.content}"

    async def workspace_memory_search(arguments: MemorySearch, context: ToolContext) -> str:
        tiers = frozenset({MemoryTier.WORKSPACE})
        return _shown(await ask(SearchMemory(_owner(context), arguments.query, arguments.top_k, tiers=tiers)))

    async def note_add(arguments: NoteAdd, context: ToolContext) -> str:
        notes = await ask(AddNote(_owner(context), arguments.note))
        return f"noted, as number {len(notes)}: {notes[-1].content}"

    async def profile_get(arguments: ProfileGet, context: ToolContext) -> str:
        del arguments
        return msgspec.json.encode((await ask(GetProfile(_owner(context)))).content).decode()

    async def profile_update(arguments: ProfileUpdate, context: ToolContext) -> str:
        changed = await ask(UpdateProfile(_owner(context), arguments.patch, merge=True))
        return f"the profile is now {msgspec.json.encode(changed.content).decode()}"

    return [
        Tool(
            "memory_write", "Remember a fact about the user or their work, for later days.", MemoryWrite, memory_write
        ),
        Tool(
            "memory_search",
            "Find what was remembered in earlier conversations with this user, by words and likeness.",
            MemorySearch,
            memory_search,
        ),
        Tool(
            "workspace_memory_write",
            "Tell all members of the workspace, for good: a decision, a record, an incident. Never what is personal.",
            WorkspaceMemoryWrite,
            workspace_memory_write,
        ),
        Tool(
            "workspace_memory_search",
            "Find what members of the workspace shared: decisions, records, incidents, notes.",
            MemorySearch,
            workspace_memory_search,
        ),
        Tool("note_add", "Write a lasting note that never fades, such as a plan or a rule.", NoteAdd, note_add),
        Tool(
            "profile_get",
            "What is known of the user: name, preferences and the like, as JSON.",
            ProfileGet,
            profile_get,
        ),
        Tool(
            "profile_update",
            "Change what is known of the user: name, preferences and the like.",
            ProfileUpdate,
            profile_update,
            serial=True,
        ),
    ]


def _shown(found: Findings) -> str:
    lines = [f"- {hit.entry.content} ({hit.entry.category}, {hit.entry.day})" for hit in found.results]
    return "\n".join(lines) or "nothing that was remembered fits"


def _key(context: ToolContext) -> SessionKey:
    return SessionKey(context.workspace_id, context.uid, context.agent_id, "", "")


def _owner(context: ToolContext) -> Owner:
    return Owner(context.workspace_id, context.uid, agent_id=context.agent_id, session_id=context.session_id)
