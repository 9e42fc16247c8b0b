"""`/agent/memory` over real sockets, real actors and a real database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
import trio

from tests.support.platform import Caller, Platform, problem, serving_platform
from understudy.actors.memory.messages import (
    MEMORY,
    MOST_NOTES,
    MemoryCategory,
    Owner,
    Remember,
    Share,
    WorkspaceType,
)
from understudy.http.app import create_app
from understudy.http.openapi import document
from understudy.storage.pool import Pool
from understudy.storage.records import WorkspaceRole

ROOT = "/agent/memory"
READS = ["/profile", "/daily", "/daily/2026-03-02", "/search?q=tea"]
CHANGES = [
    ("PUT", "/profile", {"a": 1}),
    ("POST", "/notes", {"note": "tea"}),
    ("DELETE", "/notes/0", None),
    ("DELETE", "/daily/2026-03-02/0", None),
    ("DELETE", "/entries/mem_x", None),
]


async def call(caller: Caller, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
    return await caller.call(method, f"{ROOT}{path}", body, **headers)


async def remember(platform: Platform, caller: Caller, *contents: str) -> str:
    """Write entries as an agent does; the day they were written on."""
    for content in contents:
        written = await platform.system.ask(
            MEMORY, Remember(Owner(caller.workspace_id, caller.uid), content, MemoryCategory.DECISION)
        )
    return written.day.isoformat()


async def test_a_profile_is_empty_then_replaced_by_keys_and_merged_as_a_patch(mira: Caller) -> None:
    assert (await call(mira, "GET", "/profile")).json() == {"profile": {}, "updatedAt": None}
    put = await call(mira, "PUT", "/profile", {"name": "Mira", "likes": {"drink": "tea", "meal": "rice"}, "old": 1})
    assert put.status_code == 200
    assert (await call(mira, "PUT", "/profile", {"name": None})).json()["profile"]["name"] is None
    patch = {"likes": {"drink": "coffee", "meal": None}, "old": None}
    merged = await call(mira, "PUT", "/profile", patch, content_type="application/merge-patch+json; charset=utf-8")
    assert merged.json()["profile"] == {"name": None, "likes": {"drink": "coffee"}}
    read = (await call(mira, "GET", "/profile")).json()
    assert read == merged.json()
    assert datetime.fromisoformat(read["updatedAt"]) - datetime.now(UTC) < timedelta(minutes=1)


async def test_a_profile_is_the_same_in_each_workspace_of_its_person(platform: Platform, mira: Caller) -> None:
    noor = await platform.user()
    await call(mira, "PUT", "/profile", {"name": "Mira"})
    elsewhere = await platform.member(noor, WorkspaceRole.MEMBER, mira)
    assert (await call(elsewhere, "GET", "/profile")).json()["profile"] == {"name": "Mira"}
    assert (await call(noor, "GET", "/profile")).json()["profile"] == {}


async def test_a_profile_has_a_size_a_depth_and_the_form_of_an_object(mira: Caller) -> None:
    for body in ([1], "text", 3, None):
        sent = await mira.client.put(f"{ROOT}/profile", json=body, headers=mira.headers)
        assert problem(sent) == (400, "VALIDATION")
    nested: Any = 1
    for _ in range(40):
        nested = {"a": nested}
    assert problem(await call(mira, "PUT", "/profile", nested)) == (400, "VALIDATION")
    assert problem(await call(mira, "PUT", "/profile", {"a": "x" * 70_000})) == (413, "PAYLOAD_TOO_LARGE")
    half = "x" * 40_000
    assert (await call(mira, "PUT", "/profile", {"a": half})).status_code == 200
    assert problem(await call(mira, "PUT", "/profile", {"b": half})) == (413, "PAYLOAD_TOO_LARGE")
    assert list((await call(mira, "GET", "/profile")).json()["profile"]) == ["a"]


async def test_days_show_what_was_remembered_and_an_empty_day_is_no_error(platform: Platform, mira: Caller) -> None:
    assert (await call(mira, "GET", "/daily")).json() == {"days": []}
    day = await remember(platform, mira, "first", "second")
    shown = (await call(mira, "GET", "/daily?days=1")).json()
    assert [entry["content"] for entry in shown["days"][0]["entries"]] == ["first", "second"]
    first = dict(shown["days"][0]["entries"][0])
    assert first.pop("id").startswith("mem_")
    assert abs(first.pop("timestamp") / 1000 - datetime.now(UTC).timestamp()) < 60
    assert first == {"category": "decision", "content": "first", "weight": 1.0}
    assert (await call(mira, "GET", f"/daily/{day}")).json() == shown["days"][0]
    assert (await call(mira, "GET", "/daily/2020-02-29")).json() == {"date": "2020-02-29", "entries": []}


@pytest.mark.parametrize("date", ["2026-02-30", "20260302", "2026-W01-1", "today", "2026-3-2", "0000-01-01"])
async def test_a_day_that_does_not_exist_is_said_to_be_none(mira: Caller, date: str) -> None:
    assert problem(await call(mira, "GET", f"/daily/{date}")) == (400, "VALIDATION")
    assert problem(await call(mira, "DELETE", f"/daily/{date}/0")) == (400, "VALIDATION")


async def test_an_entry_is_forgotten_by_its_place_or_its_id(platform: Platform, mira: Caller) -> None:
    day = await remember(platform, mira, "a", "b", "c")
    entries = (await call(mira, "GET", f"/daily/{day}")).json()["entries"]
    assert (await call(mira, "DELETE", f"/daily/{day}/1")).json() == {"deleted": True, "remaining": 2}
    gone = await call(mira, "DELETE", f"/daily/{day}/{entries[2]['id']}")
    assert (gone.status_code, gone.json()["remaining"]) == (200, 1)
    for which in ("1", "99999", entries[2]["id"], "mem_unknown"):
        assert problem(await call(mira, "DELETE", f"/daily/{day}/{which}")) == (404, "NOT_FOUND")
    for which in ("-1", "x", "1.0", "²", "9" * 30):
        assert problem(await call(mira, "DELETE", f"/daily/{day}/{which}")) == (400, "VALIDATION")
    audit = await platform.store.audit.of_user(mira.uid)
    assert [line.event for line in audit if line.event.startswith("memory.")] == ["memory.deleted"] * 2 + [
        "memory.added"
    ] * 3
    assert "content" not in audit[0].metadata


async def test_a_place_is_forgotten_only_if_nobody_was_faster(platform: Platform, mira: Caller) -> None:
    day = await remember(platform, mira, "a", "b")
    tag = (await call(mira, "GET", f"/daily/{day}")).headers["etag"]
    fresh = await call(mira, "DELETE", f"/daily/{day}/0", if_match=tag)
    assert fresh.status_code == 200
    assert problem(await call(mira, "DELETE", f"/daily/{day}/0", if_match=tag)) == (412, "PRECONDITION_FAILED")
    assert (await call(mira, "DELETE", f"/daily/{day}/0", if_match=fresh.headers["etag"])).json()["remaining"] == 0


async def test_notes_are_added_at_the_end_and_deleted(mira: Caller) -> None:
    await call(mira, "POST", "/notes", {"note": "one"})
    added = await call(mira, "POST", "/notes", {"content": " two "})
    assert added.status_code == 201
    shown = added.json()
    assert (shown["index"], shown["note"], [note["note"] for note in shown["notes"]]) == (1, "two", ["one", "two"])
    stale = await call(mira, "DELETE", "/notes/0", if_match='W/"other"')
    assert problem(stale) == (412, "PRECONDITION_FAILED")
    left = await call(mira, "DELETE", "/notes/0", if_match=added.headers["etag"])
    assert left.json() == {"deleted": True, "notes": [shown["notes"][1]]}
    assert problem(await call(mira, "DELETE", "/notes/1")) == (404, "NOT_FOUND")
    assert problem(await call(mira, "DELETE", "/notes/first")) == (400, "VALIDATION")
    assert (await call(mira, "DELETE", f"/notes/{shown['notes'][1]['id']}")).json()["notes"] == []


@pytest.mark.parametrize(
    "body", [{}, {"note": ""}, {"note": "  \n"}, {"note": "x" * 2001}, {"note": 1}, {"note": "\0"}]
)
async def test_a_note_that_is_none_is_refused(mira: Caller, body: Any) -> None:
    assert problem(await call(mira, "POST", "/notes", body)) == (400, "VALIDATION")


async def test_two_hundred_notes_are_enough(platform: Platform, mira: Caller) -> None:
    assert (await call(mira, "POST", "/notes", {"note": "x" * 2000})).status_code == 201
    async with platform.pool.connection() as connection:
        await connection.execute(
            "INSERT INTO memory_entries (id, workspace_id, uid, tier, day, category, content, weight, created_at,"
            " embedder, embedding) SELECT 'mem_' || n, workspace_id, uid, tier, day, category, 'x', 1, created_at,"
            " embedder, embedding FROM memory_entries, generate_series(2, %s) n",
            (MOST_NOTES,),
        )
    assert problem(await call(mira, "POST", "/notes", {"note": "one more"})) == (409, "CONFLICT")
    other = await platform.member(await platform.user(), WorkspaceRole.MEMBER, mira)
    assert (await call(other, "POST", "/notes", {"note": "elsewhere"})).json()["index"] == 0


async def test_the_same_note_sent_again_with_its_key_is_written_once(mira: Caller) -> None:
    answers = [await call(mira, "POST", "/notes", {"note": "once"}, x_idempotency_key="k1") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(answers[1].json()["notes"]) == 1
    assert problem(await call(mira, "POST", "/notes", {"note": "else"}, x_idempotency_key="k1")) == (409, "CONFLICT")


async def test_search_finds_in_every_tier_by_words_and_likeness(platform: Platform, mira: Caller) -> None:
    day = await remember(platform, mira, "I like green tea", "Deploys move to Tuesday")
    await call(mira, "POST", "/notes", {"note": "Tea for the guests"})
    found = (await call(mira, "GET", "/search?q=what+tea+do+I+like%3F&topK=2")).json()
    assert (found["query"], found["topK"], found["embedder"]) == (
        "what tea do I like?",
        2,
        "builtin/feature-hashing-256",
    )
    best, second = found["results"]
    assert best.pop("id").startswith("mem_")
    assert best == {
        "tier": "daily",
        "content": "I like green tea",
        "score": 1.0,
        "sources": ["bm25", "vector"],
        "date": day,
        "category": "decision",
        "weight": 1.0,
    }
    assert (second["tier"], second["content"]) == ("notes", "Tea for the guests")
    assert 0 < second["score"] < 1
    assert (await call(mira, "GET", "/search?q=zzzz")).json()["results"] == []
    by_likeness = (await call(mira, "GET", "/search?q=Tuesdey")).json()["results"]
    assert (by_likeness[0]["content"], by_likeness[0]["sources"]) == ("Deploys move to Tuesday", ["vector"])


async def test_what_a_workspace_shares_is_found_by_its_members_and_forgotten_by_who_told_it(
    platform: Platform, mira: Caller
) -> None:
    owner = Owner(mira.workspace_id, mira.uid)
    await platform.system.ask(MEMORY, Share(owner, "All tea is green", WorkspaceType.ADR))
    colleague = await platform.member(mira, WorkspaceRole.MEMBER)
    for reader in (mira, colleague):
        (hit,) = (await call(reader, "GET", "/search?q=tea")).json()["results"]
        assert (hit["tier"], hit["category"], hit["content"]) == ("workspace", "adr", "All tea is green")
    path = f"/entries/{hit['id']}"
    assert problem(await call(colleague, "DELETE", path)) == (404, "NOT_FOUND")
    assert (await call(mira, "DELETE", path)).status_code == 204
    assert problem(await call(mira, "DELETE", path)) == (404, "NOT_FOUND")
    assert (await call(colleague, "GET", "/search?q=tea")).json()["results"] == []
    audit = await platform.store.audit.of_user(mira.uid)
    assert [line.event for line in audit if line.event.startswith("memory.")] == ["memory.deleted", "memory.shared"]


@pytest.mark.parametrize("asked", ["", "?q=", f"?q={'x' * 501}", "?q=a&topK=0", "?q=a&topK=51", "?q=a&topK=x"])
async def test_a_search_for_nothing_or_for_too_much_is_refused(mira: Caller, asked: str) -> None:
    assert problem(await call(mira, "GET", f"/search{asked}")) == (400, "VALIDATION")
    assert problem(await call(mira, "GET", "/daily?days=91")) == (400, "VALIDATION")


async def test_a_server_without_pgvector_still_finds_by_words_and_says_so(platform: Platform, mira: Caller) -> None:
    await remember(platform, mira, "I like green tea")
    async with platform.pool.connection() as connection:
        await connection.execute("DROP EXTENSION vector CASCADE")
    found = (await call(mira, "GET", "/search?q=tea")).json()
    assert found["embedder"] is None
    assert [(hit["score"], hit["sources"]) for hit in found["results"]] == [(1.0, ["bm25"])]


async def test_nobody_else_sees_finds_or_deletes_anything(platform: Platform, mira: Caller) -> None:
    day = await remember(platform, mira, "the secret is tea")
    await call(mira, "PUT", "/profile", {"secret": "tea"})
    note = (await call(mira, "POST", "/notes", {"note": "secret tea"})).json()["notes"][0]["id"]
    entry = (await call(mira, "GET", f"/daily/{day}")).json()["entries"][0]["id"]
    noor = await platform.user()
    beside = await platform.member(mira, WorkspaceRole.ADMIN)
    for other in (noor, beside):
        for path in (*READS, f"/daily/{day}", "/search?q=secret"):
            answer = await call(other, "GET", path)
            assert (answer.status_code, "tea" in answer.text.replace('"query":"tea"', "")) == (200, False)
        for path in (f"/daily/{day}/0", f"/daily/{day}/{entry}", "/notes/0", f"/notes/{note}"):
            assert problem(await call(other, "DELETE", path)) == (404, "NOT_FOUND")
    intruder = Caller(noor.client, noor.uid, noor.token, mira.workspace_id)
    for method, path, body in [*(("GET", path, None) for path in READS), *CHANGES]:
        assert problem(await call(intruder, method, path, body)) == (403, "FORBIDDEN")
        nobody = await noor.client.request(method, f"{ROOT}{path}", json=body)
        assert problem(nobody) == (401, "UNAUTHENTICATED")
    assert len((await call(mira, "GET", f"/daily/{day}")).json()["entries"]) == 1


async def test_a_viewer_reads_and_changes_nothing(platform: Platform, mira: Caller) -> None:
    viewer = await platform.member(mira, WorkspaceRole.VIEWER)
    for path in READS:
        assert (await call(viewer, "GET", path)).status_code == 200
    for method, path, body in CHANGES:
        assert problem(await call(viewer, method, path, body)) == (403, "FORBIDDEN")


async def test_requests_are_limited(pool: Pool) -> None:
    async with serving_platform(pool, user_rate_limit_max=1) as platform:
        mira = await platform.user()
        assert (await call(mira, "GET", "/profile")).status_code == 200
        for method, path, body in [*(("GET", path, None) for path in READS), *CHANGES]:
            assert problem(await call(mira, method, path, body)) == (429, "RATE_LIMIT")


async def test_what_is_written_outlives_the_actor(platform: Platform, mira: Caller) -> None:
    with trio.fail_after(15):
        await remember(platform, mira, "before")
        await platform.system.kill(MEMORY)
        day = await remember(platform, mira, "after")
        assert len((await call(mira, "GET", f"/daily/{day}")).json()["entries"]) == 2


async def test_what_is_answered_fits_what_is_described(platform: Platform, mira: Caller) -> None:
    made = document(create_app())
    day = await remember(platform, mira, "tea")
    viewer = await platform.member(mira, WorkspaceRole.VIEWER)
    paths = {
        f"/daily/{day}": "/daily/{date}",
        f"/daily/{day}/0": "/daily/{date}/{entryIndex}",
        "/notes/0": "/notes/{index}",
    }
    requests = [
        *(("GET", path, None) for path in ("/profile", "/daily", f"/daily/{day}", "/search?q=tea", "/search")),
        *CHANGES[:3],
        ("DELETE", f"/daily/{day}/0", None),
    ]
    for caller in (viewer, mira):
        for method, path, body in requests:
            response = await call(caller, method, path, body)
            described = made["paths"][f"{ROOT}{paths.get(path, path).partition('?')[0]}"][method.lower()]
            content = described["responses"][str(response.status_code)]["content"]["application/json"]
            schema = made["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
            answer = msgspec.json.decode(response.content)
            assert set(schema.get("required", ())) <= set(answer) <= set(schema["properties"])
            if response.is_success:
                assert set(content["example"]) == set(answer)
