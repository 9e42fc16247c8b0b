"""`/costs` and `/traces` over real sockets, real actors and a real database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from tests.support.platform import Caller, Platform, problem, serving_platform
from tests.support.storage import NODE, Store, closed, opened
from understudy.http.app import create_app
from understudy.http.openapi import document
from understudy.http.request import traceparent
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.records import SessionKey, TurnStatus, Usage, WorkspaceRole, new_id
from understudy.storage.spending import Charge, Reservation, Span, TurnTrace

NOW = datetime.now(UTC)
DEAR = Charge("claude", "opus", Usage(100, 20), NOW, 2_900_001, saved=620_000, tools=("web",))
CHEAP = Charge("groq", "llama", Usage(10, 2), NOW, 510_000)
UNKNOWN = Charge("custom", "x", Usage(8, 2), NOW, None)
SPANS = (Span("context", 0.5, 1.25, {"messages": 3}), Span("inference", 2, 900, {"model": "opus"}))


@pytest.fixture
async def platform(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Platform]:
    """The platform, whose money is reckoned as if it were `NOW` all the time: no day ends in the middle of a test."""
    monkeypatch.setattr("understudy.http.routes.costs.utc_now", lambda: NOW)
    async with serving_platform(pool, now=lambda: NOW) as platform:
        yield platform


async def turn(
    platform: Platform,
    caller: Caller,
    *charges: Charge,
    status: TurnStatus = TurnStatus.COMPLETED,
    started: datetime = NOW,
    agent: str = "chad",
    quotas: tuple[Reservation, ...] = (),
    ends: bool = True,
) -> str:
    """A turn of the caller's; the id of its trace."""
    store = Store(platform.store, Journal(platform.pool))
    session, _ = await platform.store.sessions.open(
        SessionKey(caller.workspace_id, caller.uid, agent, "chat", "main"), started
    )
    claimed = await platform.store.sessions.claim(session.id, NODE)
    assert claimed is not None
    trace = TurnTrace(new_id("trc"), SPANS, "req-1", "ab" * 16, "cd" * 8, rounds=len(charges), tool_calls=1)
    begin = opened(claimed, started_at=started, quotas=quotas)
    end = closed(
        claimed, begin.turn_id, status, charges=charges, trace=trace, finished_at=started + timedelta(milliseconds=1840)
    )
    await store.write(begin)
    if ends:
        await store.write(end)
    return trace.id


async def test_what_a_workspace_spent_is_told_by_agent_provider_and_month(platform: Platform, mira: Caller) -> None:
    await turn(platform, mira, DEAR, CHEAP, UNKNOWN)
    answer = await mira.get("/costs?months=2")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    before = (NOW.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    assert body == {
        "workspaceId": mira.workspace_id,
        "totalCost": 3.410001,
        "byAgent": {"chad": 3.410001},
        "byProvider": {"claude": 2.900001, "custom": 0.0, "groq": 0.51},
        "byMonth": [{"month": before, "cost": 0.0}, {"month": NOW.strftime("%Y-%m"), "cost": 3.410001}],
        "unpriced": {"custom/x": 10},
    }


async def test_the_breakdown_says_what_it_was_spent_on(platform: Platform, mira: Caller) -> None:
    await turn(platform, mira, DEAR, CHEAP, UNKNOWN)
    day = NOW.date().isoformat()
    body = (await mira.get(f"/costs/breakdown?startDate={day}&endDate={day}")).json()
    meta = body.pop("meta")
    assert (meta["workspaceId"], meta["startDate"], meta["endDate"]) == (mira.workspace_id, day, day)
    assert (meta["months"], datetime.fromisoformat(meta["generatedAt"]) >= NOW) == (1, True)
    assert body == {
        "totalCost": 3.410001,
        "cachedSavings": 0.62,
        "byAgent": {"chad": 3.410001},
        "byProvider": {"claude": 2.900001, "custom": 0.0, "groq": 0.51},
        "byModel": {"claude/opus": 2.900001, "groq/llama": 0.51},
        "byUser": {mira.uid: 3.410001},
        "byTool": {"web": 2.900001},
        "unpriced": {"custom/x": 10},
    }
    yesterday = (NOW - timedelta(days=1)).date().isoformat()
    empty = (await mira.get(f"/costs/breakdown?startDate={yesterday}&endDate={yesterday}")).json()
    assert (empty["totalCost"], empty["byModel"]) == (0.0, {})


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/costs?months=0", "months"),
        ("/costs?months=25", "months"),
        ("/costs?months=three", "months"),
        ("/costs/breakdown?months=0", "months"),
        ("/costs/breakdown?startDate=2026-02-30", "startDate"),
        ("/costs/breakdown?startDate=02/03/2026", "startDate"),
        ("/costs/breakdown?startDate=2026-03-02&endDate=2026-03-01", "endDate"),
        ("/costs/breakdown?startDate=2025-01-01&endDate=2026-03-01", "startDate"),
        ("/costs/breakdown?endDate=9999-12-31", "endDate"),
        ("/traces?limit=0", "limit"),
        ("/traces?limit=101", "limit"),
        ("/traces?offset=-1", "offset"),
        ("/traces?status=fine", "status"),
        ("/traces?agentId=", "agentId"),
        ("/traces?since=2026-03-02T09:00:00", "since"),
        ("/traces?until=0.5", "until"),
        ("/traces?until=1772442600", "until"),
        ("/traces?since=2026-03-02T09:00:00Z&until=2026-03-02T08:00:00Z", "until"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_at_its_field(mira: Caller, path: str, field: str) -> None:
    answer = await mira.get(path)
    assert problem(answer) == (400, "VALIDATION")
    assert answer.json()["details"][0]["path"] == field


async def test_how_turns_went_is_listed_in_pages_and_read_part_by_part(platform: Platform, mira: Caller) -> None:
    ids = [await turn(platform, mira, DEAR, UNKNOWN, started=NOW - timedelta(minutes=9 - n)) for n in range(3)]
    first = await mira.get("/traces?limit=2&agentId=chad")
    page = first.json()
    assert ([x["id"] for x in page["traces"]], page["total"]) == ([ids[2], ids[1]], 3)
    assert (page["limit"], page["offset"]) == (2, 0)
    assert "spans" not in page["traces"][0]
    following = await mira.get(first.links["next"]["url"])
    assert [x["id"] for x in following.json()["traces"]] == [ids[0]]
    assert "next" not in following.links

    body = (await mira.get(f"/traces/{ids[2]}")).json()
    assert (body["status"], body["durationMs"], body["rounds"], body["toolCallCount"]) == ("ok", 1840, 2, 1)
    assert body["usage"] == {"promptTokens": 108, "completionTokens": 22, "totalTokens": 130}
    assert (body["costUsd"], body["unpriced"]) == (2.900001, True)
    assert (body["requestId"], body["traceId"], body["parentId"]) == ("req-1", "ab" * 16, "cd" * 8)
    assert body["spans"] == [
        {"id": "1", "kind": "context", "offsetMs": 0.5, "durationMs": 1.25, "attributes": {"messages": 3}},
        {"id": "2", "kind": "inference", "offsetMs": 2, "durationMs": 900, "attributes": {"model": "opus"}},
    ]


async def test_traces_are_found_by_agent_session_status_and_time(platform: Platform, mira: Caller) -> None:
    failed = await turn(platform, mira, status=TurnStatus.FAILED, started=NOW - timedelta(hours=2))
    other = await turn(platform, mira, agent="other")

    async def found(**asked: str) -> list[str]:
        answer = await mira.client.get("/traces", params=asked, headers=mira.headers)
        assert answer.status_code == 200, answer.text
        return [trace["id"] for trace in answer.json()["traces"]]

    assert await found() == [other, failed]
    assert await found(agentId="other") == [other]
    assert await found(agentId="nobody") == []
    assert await found(status="error") == [failed]
    assert await found(since=(NOW - timedelta(hours=1)).isoformat()) == [other]
    assert await found(until=(NOW - timedelta(hours=1)).isoformat()) == [failed]
    session = (await mira.get(f"/traces/{other}")).json()["sessionId"]
    assert await found(sessionId=session) == [other]


async def test_another_workspaces_money_and_traces_are_nobodys_business(platform: Platform, mira: Caller) -> None:
    trace = await turn(platform, mira, DEAR)
    stranger = await platform.user()
    assert (await stranger.get(f"/traces/{trace}")).status_code == 404
    assert (await stranger.get("/traces")).json()["total"] == 0
    assert (await stranger.get("/costs")).json()["totalCost"] == 0
    for path in ("/costs", "/costs/breakdown", "/traces", f"/traces/{trace}"):
        assert problem(await stranger.get(path, X_Workspace_Id=mira.workspace_id)) == (403, "FORBIDDEN")
        assert problem(await platform.client.get(path)) == (401, "UNAUTHENTICATED")


async def test_members_see_their_own_and_admins_all(platform: Platform, mira: Caller) -> None:
    member = await platform.member(mira, WorkspaceRole.MEMBER)
    admin = await platform.member(mira, WorkspaceRole.ADMIN)
    owners, members = await turn(platform, mira, DEAR), await turn(platform, member, CHEAP)
    everybodys = {mira.uid: 2.900001, member.uid: 0.51}
    for caller, seen, by_user in (
        (mira, {owners, members}, everybodys),
        (admin, {owners, members}, everybodys),
        (member, {members}, {member.uid: 0.51}),
    ):
        assert {trace["id"] for trace in (await caller.get("/traces")).json()["traces"]} == seen
        body = (await caller.get("/costs/breakdown")).json()
        assert (body["totalCost"], body["byUser"]) == (3.410001, by_user)
    assert (await member.get(f"/traces/{owners}")).status_code == 404


async def test_the_document_names_the_money_and_an_example_of_each_answer() -> None:
    paths: dict[str, Any] = document(create_app())["paths"]
    for path in ("/costs", "/costs/breakdown", "/traces", "/traces/{id}"):
        described = paths[path]["get"]
        assert described["responses"]["200"]["content"]["application/json"]["example"]
        assert {"400", "401", "403", "429"} <= set(described["responses"])


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (f"00-{'ab' * 16}-{'cd' * 8}-01", f"00-{'ab' * 16}-{'cd' * 8}-01"),
        (f"01-{'ab' * 16}-{'cd' * 8}-01-more", f"01-{'ab' * 16}-{'cd' * 8}-01"),
        (f"00-{'ab' * 16}-{'cd' * 8}-01-more", None),
        (f"ff-{'ab' * 16}-{'cd' * 8}-01", None),
        (f"00-{'00' * 16}-{'cd' * 8}-01", None),
        (f"00-{'ab' * 16}-{'00' * 8}-01", None),
        (f"00-{'AB' * 16}-{'cd' * 8}-01", None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_only_a_well_formed_traceparent_counts(offered: str | None, taken: str | None) -> None:
    assert traceparent(offered) == taken


LIMITED = {
    "id": "thrifty",
    "model": {"provider": "builtin", "modelId": "rehearsal"},
    "systemPromptTemplate": "Be brief.",
    "quotas": {"tokens": {"maxPerHour": 500, "maxPerDay": 90}, "cost": {"maxPerDay": 3.5}},
}


def reserving(caller: Caller, name: str, starts: datetime, amount: int, *, money: bool = False) -> Reservation:
    return Reservation(f"agent/{name}/{caller.workspace_id}/thrifty", starts, amount, 10**9, money)


async def test_an_agents_usage_shows_each_quota_what_is_left_of_it_and_when_it_renews(
    platform: Platform, mira: Caller
) -> None:
    now = NOW
    hour = now.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    assert (await mira.call("POST", "/agents", LIMITED)).status_code == 201
    bought = attrs.evolve(DEAR, at=now)
    both = (
        reserving(mira, "tokens-per-hour", hour, 300),
        reserving(mira, "tokens-per-day", day, 300),
        reserving(mira, "cost-per-day", day, 500_000, money=True),
    )
    await turn(platform, mira, bought, attrs.evolve(UNKNOWN, at=now), agent="thrifty", started=now, quotas=both)
    await turn(platform, mira, agent="thrifty", started=now, quotas=both, ends=False)
    answer = await mira.get("/agents/thrifty/usage")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    (found_hour, found_day, found_cost) = told.pop("quotas")
    renews = (day + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    assert found_hour["renewsAt"] == (hour + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert (found_hour["limit"], found_hour["used"], found_hour["reserved"], found_hour["remaining"]) == (
        500,
        130,
        300,
        70,
    )
    assert found_day == {
        "quota": "tokens-per-day",
        "unit": "tokens",
        "limit": 90,
        "used": 130,
        "reserved": 300,
        "remaining": 0,
        "renewsAt": renews,
    }
    assert found_cost == {
        "quota": "cost-per-day",
        "unit": "usd",
        "limit": 3.5,
        "used": 2.900001,
        "reserved": 0.5,
        "remaining": 0.099999,
        "renewsAt": renews,
    }
    use = {
        "inferences": 2,
        "promptTokens": 108,
        "completionTokens": 22,
        "totalTokens": 130,
        "unpricedTokens": 10,
        "costUsd": 2.900001,
    }
    begun = {"hour": hour, "day": day, "month": day.replace(day=1)}
    since = {name: began.isoformat().replace("+00:00", "Z") for name, began in begun.items()}
    assert told == {
        "agentId": "thrifty",
        "workspaceId": mira.workspace_id,
        "usage": {name: {"since": since[name], **use} for name in ("hour", "day", "month")},
    }


async def test_an_agent_without_limits_has_no_quotas_and_an_unused_one_has_used_nothing(mira: Caller) -> None:
    told = (await mira.get("/agents/chad/usage")).json()
    assert told["quotas"] == []
    assert [told["usage"][name]["totalTokens"] for name in ("hour", "day", "month")] == [0, 0, 0]


async def test_an_agents_usage_is_its_workspaces_business(platform: Platform, mira: Caller) -> None:
    assert (await mira.call("POST", "/agents", LIMITED)).status_code == 201
    await turn(platform, mira, DEAR)
    viewer, stranger = await platform.member(mira, WorkspaceRole.VIEWER), await platform.user()
    assert (await viewer.get("/agents/thrifty/usage")).status_code == 200
    assert problem(await stranger.get("/agents/thrifty/usage")) == (403, "FORBIDDEN")  # as of the agent itself
    theirs = (await stranger.get("/agents/chad/usage")).json()
    assert theirs["usage"]["month"]["inferences"] == 0
    outside = attrs.evolve(stranger, workspace_id=mira.workspace_id)
    assert problem(await outside.get("/agents/thrifty/usage")) == (403, "FORBIDDEN")
    assert problem(await mira.get("/agents/nobody/usage")) == (404, "NOT_FOUND")
    assert (await platform.client.get("/agents/thrifty/usage")).status_code == 401
