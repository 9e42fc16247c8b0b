"""`/agent/memory`: what agents remember of the caller, in the caller's own hands."""

import datetime as dt
from contextlib import suppress
from typing import Any

from quart import Blueprint

from understudy.actors.memory.messages import (
    MEMORY,
    Day,
    EntryView,
    Forget,
    ForgetEntry,
    GetDay,
    GetProfile,
    ListDays,
    MemoryCategory,
    Owner,
    ProfileView,
    SearchMemory,
    UpdateProfile,
)
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import schemas_memory as shapes
from understudy.http.access import member
from understudy.http.decode import body, query
from understudy.http.errors import ApiError, invalid
from understudy.http.etag import check_if_match, with_tag
from understudy.http.operation import Auth, operation
from understudy.http.replies import RawHeaders, Reply, json
from understudy.http.request import ApiRequest, this_request

routes = Blueprint("memory", __name__, url_prefix="/agent/memory")

LARGEST_PROFILE = 64 * 1024
"""Bytes of a profile, and of a change to one."""

MERGE_PATCH = "application/merge-patch+json"

_PROFILE = {"profile": {"name": "Mira", "drinks": ["tea"]}, "updatedAt": "2026-03-02T08:00:00Z"}
_ENTRY = {
    "id": "mem_5qd0b1aX",
    "timestamp": 1772438400000,
    "category": "decision",
    "content": "Deploys move to Tuesday",
    "weight": 1.0,
}


@routes.get("/profile")
@operation(
    "getProfile",
    Auth.WORKSPACE,
    replies={200: shapes.ProfileReply},
    headers=("X-Workspace-Id",),
    errors=("RATE_LIMIT",),
    reply_example=_PROFILE,
)
async def get_profile() -> Reply:
    """Read what is known of you.

    It is the same in each of your workspaces, and empty as long as nothing is known.
    """
    request = this_request()
    owner = await owner_of(request, WorkspaceRole.VIEWER)
    return json(_profile(await request.ask(MEMORY, GetProfile(owner))))


@routes.put("/profile")
@operation(
    "updateProfile",
    Auth.WORKSPACE,
    body=dict[str, Any],
    replies={200: shapes.ProfileReply},
    headers=("X-Workspace-Id",),
    errors=("RATE_LIMIT", "PAYLOAD_TOO_LARGE"),
    example=_PROFILE["profile"],
    reply_example=_PROFILE,
)
async def update_profile() -> Reply:
    """Change what is known of you.

    The top-level keys that the body names are replaced, others stay. As `application/merge-patch+json` the body is a
    merge patch (RFC 7396), in which null takes away. A profile has at most 64 KB.
    """
    request = this_request()
    owner = await owner_of(request, WorkspaceRole.MEMBER)
    if len(request.payload) > LARGEST_PROFILE:
        raise ApiError("PAYLOAD_TOO_LARGE", f"a profile has at most {LARGEST_PROFILE // 1024} KB")
    patch = body(request, dict[str, Any])
    kind = (request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    return json(_profile(await request.ask(MEMORY, UpdateProfile(owner, patch, merge=kind == MERGE_PATCH))))


@routes.get("/daily")
@operation(
    "listDailyMemory",
    Auth.WORKSPACE,
    query=shapes.DaysQuery,
    replies={200: shapes.DailyReply},
    headers=("X-Workspace-Id",),
    errors=("RATE_LIMIT",),
    reply_example={"days": [{"date": "2026-03-02", "entries": [_ENTRY]}]},
)
async def list_daily() -> Reply:
    """Read what was remembered in the last days, newest first.

    `weight` is 1 for a week and then falls by 0.12 a day; below 0.2, an entry is no longer told to agents.
    """
    request = this_request()
    owner = await owner_of(request, WorkspaceRole.VIEWER)
    asked = query(request, shapes.DaysQuery)
    days = await request.ask(MEMORY, ListDays(owner, asked.days))
    return json(shapes.DailyReply(days=[_day(day) for day in days]))


@routes.get("/daily/<date>")
@operation(
    "getDailyMemory",
    Auth.WORKSPACE,
    replies={200: shapes.DailyMemory},
    headers=("X-Workspace-Id",),
    errors=("RATE_LIMIT",),
    reply_example={"date": "2026-03-02", "entries": [_ENTRY]},
)
async def get_daily(date: str) -> Reply:
    """Read what was remembered on a day; perhaps nothing.

    `ETag` stands for which entries there are.
    """
    request = this_request()
    owner = await owner_of(request, WorkspaceRole.VIEWER)
    day = await request.ask(MEMORY, GetDay(owner, _date(date)))
    return json(_day(day), headers=tag_of(day.entries))


@routes.delete("/daily/<date>/<entryIndex>")
@operation(
    "deleteDailyEntry",
    Auth.WORKSPACE,
    replies={200: shapes.EntryDeleted},
    headers=("X-Workspace-Id", "If-Match"),
    errors=("NOT_FOUND", "RATE_LIMIT", "PRECONDITION_FAILED"),
    reply_example={"deleted": True, "remaining": 3},
)
async def delete_daily(date: str, entryIndex: str) -> Reply:  # noqa: N803  # the contract's name for it
    """Forget something that was remembered on a day.

    By its place, from 0 on, or by its id. What is at a place changes when others write and delete: name the id, or send
    the day's `ETag` as `If-Match`.
    """
    request = this_request()
    owner = await owner_of(request, WorkspaceRole.MEMBER)
    day, which = _date(date), which_of(entryIndex, "entryIndex")
    expected = None
    if "If-Match" in request.headers:
        expected = expected_ids(request, (await request.ask(MEMORY, GetDay(owner, day))).entries)
    left = await request.ask(MEMORY, ForgetEntry(owner, day, which, expected))
    return json(shapes.EntryDeleted(deleted=True, remaining=len(left.entries)), headers=tag_of(left.entries))


@routes.delete("/entries/<id>")
@operation(
    "forgetEntry",
    Auth.WORKSPACE,
    replies={204: None},
    headers=("X-Workspace-Id",),
    errors=("NOT_FOUND", "RATE_LIMIT"),
)
async def forget_entry(id: str) -> Reply:
    """Forget something that a search has found, by its id.

    Of whichever tier, as long as it is yours: what was learned of people and procedures, and what you told the
    workspace. What was said in a session is none of it.
    """
    request = this_request()
    owner = await owner_of(request, WorkspaceRole.MEMBER)
    await request.ask(MEMORY, Forget(owner, id))
    return Reply(204)


@routes.get("/search")
@operation(
    "searchMemory",
    Auth.WORKSPACE,
    query=shapes.SearchQuery,
    replies={200: shapes.SearchReply},
    headers=("X-Workspace-Id",),
    errors=("RATE_LIMIT",),
    reply_example={
        "query": "deploy window",
        "topK": 5,
        "embedder": "builtin/feature-hashing-256",
        "results": [
            {
                "tier": "daily",
                "id": "mem_5qd0b1aX",
                "content": "Deploys move to Tuesday",
                "score": 0.9919,
                "sources": ["bm25", "vector"],
                "date": "2026-03-02",
                "category": "decision",
                "weight": 1.0,
            }
        ],
    },
)
async def search_memory() -> Reply:
    """Find what was remembered, by its words and by likeness.

    Both lists are fused by reciprocal rank; 1 is the score of what both put first. Entries that have faded are found
    too, and `weight` says so. Where the database cannot compare vectors, it is found by words alone.
    """
    request = this_request()
    owner = await owner_of(request, WorkspaceRole.VIEWER)
    if "q" not in request.args:
        raise invalid("q", "missing")
    asked = query(request, shapes.SearchQuery)
    found = await request.ask(MEMORY, SearchMemory(owner, asked.q, asked.top_k))
    results = [
        shapes.MemoryResult(
            tier=hit.entry.tier,
            id=hit.entry.id,
            content=hit.entry.content,
            score=hit.score,
            sources=list(hit.sources),
            date=hit.entry.day.isoformat(),
            category=hit.entry.category,
            weight=hit.entry.weight,
        )
        for hit in found.results
    ]
    return json(shapes.SearchReply(query=asked.q, top_k=asked.top_k, embedder=found.embedder, results=results))


async def owner_of(request: ApiRequest, needs: WorkspaceRole) -> Owner:
    """The caller, if their role in the workspace is enough."""
    caller = await member(request, needs)
    return Owner(caller.workspace_id, caller.uid, request.id)


def _date(text: str) -> dt.date:
    day = None
    with suppress(ValueError):
        day = dt.date.fromisoformat(text)
    if day is None or day.isoformat() != text:  # Python reads more forms of a date than the contract has
        raise invalid("date", "invalid_value", "date: there is no such day; write it as 2026-03-02")
    return day


def which_of(text: str, path: str) -> int | str:
    """A place or an id, found in the path under the name *path*."""
    if text.startswith("mem_") and len(text) <= 64:
        return text
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise invalid(path, "invalid_value", f"{path} must be a place from 0 on, or an id")
    return int(text)


def tag_of(entries: tuple[EntryView, ...]) -> RawHeaders:
    """The tag of entries: of the ids and not of the whole: weights fall by themselves, and nobody changed anything."""
    return with_tag([entry.id for entry in entries])


def expected_ids(request: ApiRequest, entries: tuple[EntryView, ...]) -> tuple[str, ...]:
    """Those that must still be all there are. Raises `PreconditionFailed` when ``If-Match`` says otherwise."""
    ids = [entry.id for entry in entries]
    check_if_match(request, ids)
    return tuple(ids)


def _profile(view: ProfileView) -> shapes.ProfileReply:
    return shapes.ProfileReply(profile=dict(view.content), updated_at=view.updated_at)


def _day(day: Day) -> shapes.DailyMemory:
    entries = [
        shapes.DailyEntry(
            id=entry.id,
            timestamp=int(entry.created_at.astimezone(dt.UTC).timestamp() * 1000),
            category=MemoryCategory(entry.category),
            content=entry.content,
            weight=entry.weight,
        )
        for entry in day.entries
    ]
    return shapes.DailyMemory(date=day.day.isoformat(), entries=entries)
