"""`/skills`: what agents can be taught, how it goes, and the cache of their tools' results."""

from quart import Blueprint

from understudy.actors.identity.messages import KeyScope
from understudy.actors.skills.messages import (
    DAYS,
    SKILLS,
    USAGE,
    GetSkill,
    GetSkillMetrics,
    ListSkills,
    Skill,
    Tally,
)
from understudy.actors.tools.messages import HOST, ClearCache, GetCacheStatistics
from understudy.http import schemas_skills
from understudy.http.access import acted, operator, signed_in, user
from understudy.http.decode import query
from understudy.http.etag import tagged
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import this_request

routes = Blueprint("skills", __name__, url_prefix="/skills")

PUBLIC = "public, max-age=60"
PRIVATE = "private, max-age=60"
VARY = "Authorization"

_EXAMPLE = {
    "id": "summarise",
    "displayName": "Summarise",
    "category": "writing",
    "description": "Shorten a text, a page or a conversation without bending it.",
    "tools": ["http_get", "file_read"],
}
_DETAIL_EXAMPLE = {
    **_EXAMPLE,
    "version": "1.0",
    "source": "builtin",
    "instructions": "Make a text shorter and keep it true. …",
}
_METRICS_EXAMPLE = {
    "skillId": "summarise",
    "days": DAYS,
    "calls": 4,
    "errors": 1,
    "successRate": 0.75,
    "avgDurationMs": 120,
    "p95DurationMs": 500,
    "byDay": [{"date": "2026-03-01", "calls": 4, "errors": 1, "avgDurationMs": 120}],
    "byTool": [{"tool": "http_get", "calls": 4, "errors": 1, "avgDurationMs": 120}],
}
_CACHE_EXAMPLE = {
    "hits": 3,
    "misses": 9,
    "size": 7,
    "maxSize": 1000,
    "hitRate": 0.25,
    "byTool": {"http_get": {"hits": 3, "misses": 9, "size": 7}},
}


@routes.get("")
@operation(
    "listSkills",
    Auth.PUBLIC,
    replies={200: schemas_skills.SkillList, 304: None},
    headers=("If-None-Match",),
    reply_example={"skills": [_EXAMPLE], "count": 1},
)
async def list_skills() -> Reply:
    """List the skills that agents of this node can be given.

    `tools` are the names that a skill asks for; one that the node does not have is left out of what an agent may call.
    """
    request = this_request()
    found = await request.ask(SKILLS, ListSkills())
    skills = [_summary(skill) for skill in found.skills]
    return tagged(request, schemas_skills.SkillList(skills=skills, count=len(skills)), cache=PUBLIC, vary=VARY)


@routes.get("/cache/stats")
@operation(
    "toolCacheStats",
    Auth.JWT,
    replies={200: schemas_skills.ToolCacheStats},
    errors=("RATE_LIMIT",),
    reply_example=_CACHE_EXAMPLE,
)
async def cache_stats() -> Reply:
    """See what the cache of tool results saves.

    Only tools that do nothing but look are cached, and what one person's call found is never given to another.
    """
    request = this_request()
    await user(request)
    found = await request.ask(HOST, GetCacheStatistics())
    whole = found.whole
    return json(
        schemas_skills.ToolCacheStats(
            hits=whole.hits,
            misses=whole.misses,
            size=whole.size,
            max_size=found.max_size,
            hit_rate=_share(whole.hits, whole.hits + whole.misses),
            by_tool={
                tool: schemas_skills.ToolCacheUse(hits=used.hits, misses=used.misses, size=used.size)
                for tool, used in found.by_tool.items()
            },
        )
    )


@routes.post("/cache/clear")
@operation(
    "clearToolCache",
    Auth.KEY_OR_JWT,
    query=schemas_skills.ClearQuery,
    replies={200: schemas_skills.ToolCacheCleared},
    errors=("RATE_LIMIT", "FORBIDDEN"),
    reply_example={"cleared": 12},
)
async def clear_cache() -> Reply:
    """Forget results of tools.

    Forgets what was found for the caller, in all their workspaces; with the internal key (`X-Api-Key`) in place of an
    access token, what was found for anybody. `tool` says of which tool only.
    """
    request = this_request()
    uid = None
    if "X-Api-Key" in request.headers:
        acted(request, await operator(request, KeyScope.ADMIN_WRITE), "tool_cache.cleared")
    else:
        uid = (await user(request)).uid
    asked = query(request, schemas_skills.ClearQuery)
    return json(schemas_skills.ToolCacheCleared(cleared=await request.ask(HOST, ClearCache(asked.tool, uid))))


@routes.get("/<id>")
@operation(
    "getSkill",
    Auth.PUBLIC,
    replies={200: schemas_skills.SkillDetail, 304: None},
    headers=("If-None-Match",),
    errors=("NOT_FOUND", "UNAUTHENTICATED"),
    reply_example=_DETAIL_EXAMPLE,
)
async def get_skill(id: str) -> Reply:
    """Read a skill, with what it tells the model.

    The instructions of the built-in skills are everybody's; those of the node's own are shown with an access token, and
    are null without one.
    """
    request = this_request()
    private = "Authorization" in request.headers
    if private:
        await signed_in(request)
    skill = await request.ask(SKILLS, GetSkill(id))
    shown = schemas_skills.SkillDetail(
        id=skill.id,
        display_name=skill.display_name,
        category=skill.category,
        description=skill.description,
        tools=skill.tools,
        version=skill.version,
        source=skill.source,
        instructions=skill.instructions if private or skill.source == "builtin" else None,
    )
    return tagged(request, shown, cache=PRIVATE if private else PUBLIC, vary=VARY)


@routes.get("/<id>/metrics")
@operation(
    "skillMetrics",
    Auth.PUBLIC,
    replies={200: schemas_skills.SkillMetrics},
    errors=("NOT_FOUND",),
    reply_example=_METRICS_EXAMPLE,
)
async def skill_metrics(id: str) -> Reply:
    """See how a skill's tools fared in the last 30 days.

    Counts and times, of all users together; days and tools without a call are left out. A run counts for every skill of
    the agent that asks for the tool. `p95DurationMs` is the least of a few round bounds that 95 % of the runs kept.
    """
    request = this_request()
    found = await request.ask(USAGE, GetSkillMetrics(id))
    whole = found.whole
    return json(
        schemas_skills.SkillMetrics(
            skill_id=found.skill_id,
            days=DAYS,
            calls=whole.calls,
            errors=whole.errors,
            success_rate=_share(whole.calls - whole.errors, whole.calls),
            avg_duration_ms=_average(whole),
            p95_duration_ms=found.p95_ms,
            by_day=[
                schemas_skills.SkillDay(
                    date=day, calls=tally.calls, errors=tally.errors, avg_duration_ms=_average(tally)
                )
                for day, tally in found.by_day.items()
            ],
            by_tool=[
                schemas_skills.SkillTool(
                    tool=tool, calls=tally.calls, errors=tally.errors, avg_duration_ms=_average(tally)
                )
                for tool, tally in found.by_tool.items()
            ],
        )
    )


def _summary(skill: Skill) -> schemas_skills.SkillSummary:
    return schemas_skills.SkillSummary(
        id=skill.id,
        display_name=skill.display_name,
        category=skill.category,
        description=skill.description,
        tools=skill.tools,
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _average(tally: Tally) -> int | None:
    return round(tally.total_ms / tally.calls) if tally.calls else None
