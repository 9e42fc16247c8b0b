"""`/skills` over real sockets, real actors and a real database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.platform import Platform, serving_platform
from understudy.actors.skills.messages import SKILLS, USAGE, ReloadSkills
from understudy.actors.tools.messages import ToolContext, ToolRan
from understudy.actors.tools.tool import Arguments
from understudy.http.app import create_app
from understudy.http.openapi import document
from understudy.storage.pool import Pool

OWN = "---\nname: house-rules\ndescription: How we do it.\ntools: [clock]\n---\nNever on a Friday."


class Look(Arguments, frozen=True):
    what: str


@pytest.fixture
async def platform(pool: Pool, tmp_path: Path) -> AsyncIterator[Platform]:
    (tmp_path / "house-rules").mkdir()
    (tmp_path / "house-rules" / "SKILL.md").write_text(OWN)
    async with serving_platform(pool, skills_folder=tmp_path) as platform:
        yield platform


async def test_anybody_sees_which_skills_there_are_and_none_of_their_texts(platform: Platform) -> None:
    answer = await platform.client.get("/skills")
    body = answer.json()
    assert (answer.status_code, body["count"]) == (200, 8)
    assert [skill["id"] for skill in body["skills"]] == [
        "code_review", "files", "house-rules", "memory", "monitoring", "planning", "summarise", "web_research",
    ]  # fmt: skip
    assert body["skills"][2] == {
        "id": "house-rules",
        "displayName": "House rules",
        "category": "general",
        "description": "How we do it.",
        "tools": ["clock"],
    }
    assert answer.headers["cache-control"] == "public, max-age=60"
    again = await platform.client.get("/skills", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_skill_is_shown_whole_and_its_tag_changes_with_it(platform: Platform, tmp_path: Path) -> None:
    mira = await platform.user()
    shown = await mira.get("/skills/house-rules")
    assert (shown.json()["instructions"], shown.json()["source"]) == ("Never on a Friday.", "own")
    assert shown.headers["cache-control"] == "private, max-age=60"
    tag = shown.headers["etag"]
    assert (await mira.get("/skills/house-rules", If_None_Match=tag)).status_code == 304
    (tmp_path / "house-rules" / "SKILL.md").write_text(f"{OWN} Or a Monday.")
    await platform.system.ask(SKILLS, ReloadSkills())
    changed = await mira.get("/skills/house-rules", If_None_Match=tag)
    assert (changed.status_code, changed.json()["instructions"]) == (200, "Never on a Friday. Or a Monday.")


async def test_strangers_read_what_comes_with_the_server_and_not_what_its_owner_wrote(platform: Platform) -> None:
    builtin = await platform.client.get("/skills/summarise")
    assert builtin.json()["instructions"].startswith("Make a text shorter")
    own = await platform.client.get("/skills/house-rules")
    assert (own.status_code, own.json()["instructions"]) == (200, None)
    assert own.headers["vary"] == "Authorization"
    forged = await platform.client.get("/skills/house-rules", headers={"Authorization": "Bearer forged"})
    assert (forged.status_code, forged.json()["code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("path", ["/skills/nothing", "/skills/nothing/metrics", "/skills/cache", "/skills/..%2fx"])
async def test_what_is_no_skill_is_not_found(platform: Platform, path: str) -> None:
    answer = await platform.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


async def test_metrics_are_counts_and_survive_the_actor(platform: Platform) -> None:
    empty = (await platform.client.get("/skills/files/metrics")).json()
    assert empty == {
        "skillId": "files",
        "days": 30,
        "calls": 0,
        "errors": 0,
        "successRate": None,
        "avgDurationMs": None,
        "p95DurationMs": None,
        "byDay": [],
        "byTool": [],
    }
    for ok, ms in ((True, 3), (True, 4), (False, 30)):
        platform.system.tell(USAGE, ToolRan("file_read", ok, ms, ("files",)))
    before = (await platform.client.get("/skills/files/metrics")).json()
    assert (before["calls"], before["errors"], before["successRate"], before["avgDurationMs"]) == (3, 1, 0.6667, 12)
    assert before["p95DurationMs"] == 50
    assert before["byTool"] == [{"tool": "file_read", "calls": 3, "errors": 1, "avgDurationMs": 12}]
    (day,) = before["byDay"]
    assert day["calls"] == 3
    await platform.system.kill(USAGE)
    assert (await platform.client.get("/skills/files/metrics")).json() == before


async def test_the_cache_is_counted_for_all_and_cleared_for_oneself(platform: Platform) -> None:
    mira, noor = await platform.user(), await platform.user()
    for caller in (mira, noor):
        for tool in ("clock", "web"):
            context = ToolContext(caller.workspace_id, caller.uid, "chad", "ses", "trn")
            assert platform.cache.get(tool, Look("x"), context) is None
            platform.cache.put(tool, Look("x"), context, "seen", 60)
            assert platform.cache.get(tool, Look("x"), context) == "seen"
    stats = (await mira.get("/skills/cache/stats")).json()
    assert stats == {
        "hits": 4,
        "misses": 4,
        "size": 4,
        "maxSize": 1000,
        "hitRate": 0.5,
        "byTool": {"clock": {"hits": 2, "misses": 2, "size": 2}, "web": {"hits": 2, "misses": 2, "size": 2}},
    }
    assert (await mira.call("POST", "/skills/cache/clear?tool=clock")).json() == {"cleared": 1}
    assert (await mira.call("POST", "/skills/cache/clear")).json() == {"cleared": 1}
    assert (await mira.get("/skills/cache/stats")).json()["size"] == 2


async def test_the_cache_is_nobodys_business_without_a_token_and_unknown_tools_are_named(platform: Platform) -> None:
    mira = await platform.user()
    for method, path in (("GET", "/skills/cache/stats"), ("POST", "/skills/cache/clear")):
        answer = await platform.client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
    wrong = await platform.client.post("/skills/cache/clear", headers={"X-Api-Key": "wrong"})
    assert wrong.status_code in {401, 503}
    unknown = await mira.call("POST", "/skills/cache/clear?tool=nope")
    assert (unknown.status_code, unknown.json()["code"]) == (400, "VALIDATION")
    assert unknown.json()["details"] == [{"path": "tool", "issue": "unknown_tool"}]


def test_the_document_names_the_five_routes_with_examples() -> None:
    paths = document(create_app())["paths"]
    for path, method in {
        "/skills": "get",
        "/skills/{id}": "get",
        "/skills/{id}/metrics": "get",
        "/skills/cache/stats": "get",
        "/skills/cache/clear": "post",
    }.items():
        described = paths[path][method]
        assert described["responses"]["200"]["content"]["application/json"]["example"]
