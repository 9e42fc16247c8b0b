"""`/heartbeat` over real sockets, real actors and a real database, with feeds on the loopback."""

import ipaddress
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
import trio

from tests.support.platform import Caller, Platform, serving_platform
from tests.support.receiver import Receiver, receiving
from understudy.actors.clock import utc_now
from understudy.actors.heartbeats.services import HeartbeatServices
from understudy.actors.heartbeats.tree import heartbeats_spec
from understudy.actors.outbound.guarded import GuardedClient
from understudy.storage.pool import Pool
from understudy.storage.records import WorkspaceRole

ROOT = "/heartbeat"
FEED = "https://news.example.org/feed.xml"
NEW: dict[str, Any] = {"name": "News", "type": "rss", "url": FEED, "intervalMinutes": 15, "enabled": False}


async def resolve(host: str, port: int) -> Sequence[str]:
    """The names that these tests use, and addresses as they are."""
    del port
    if host == "unknown.example.org":
        raise OSError("no such host")
    return {"news.example.org": ("93.184.215.14",), "inside.example.org": ("10.0.0.7",)}.get(host, (host,))


@pytest.fixture
async def platform(pool: Pool) -> AsyncIterator[Platform]:
    async with serving_platform(pool) as platform:
        web = GuardedClient([ipaddress.ip_network("127.0.0.1/32")], resolver=resolve)
        stores = platform.store
        services = HeartbeatServices(stores.heartbeats, stores.heartbeat_runs, web, utc_now, sweep=0.1)
        await platform.system.spawn(heartbeats_spec(services))
        yield platform


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def made(by: Caller, **fields: Any) -> dict[str, Any]:
    created = await by.call("POST", ROOT, {**NEW, **fields})
    assert created.status_code == 201, created.text
    answer: dict[str, Any] = created.json()
    return answer


def problem(response: httpx.Response) -> tuple[int, str, list[str]]:
    body = response.json()
    return response.status_code, body["code"], [detail["path"] for detail in body.get("details", [])]


async def ended(mira: Caller, heartbeat_id: str, count: int) -> list[dict[str, Any]]:
    """The runs that have ended, newest first, once there are so many."""
    with trio.fail_after(30):
        while True:
            runs = (await mira.get(f"{ROOT}/{heartbeat_id}/runs")).json()["runs"]
            found: list[dict[str, Any]] = [run for run in runs if run["status"] != "running"]
            if len(found) >= count:
                return found
            await trio.sleep(0.02)


async def test_a_heartbeat_is_made_with_its_defaults_listed_changed_and_deleted(mira: Caller) -> None:
    created = await mira.call("POST", ROOT, NEW)
    assert created.status_code == 201
    shown = created.json()
    assert created.headers["location"] == f"{ROOT}/{shown['id']}"
    expected = {
        **NEW,
        "feeds": [FEED],
        "intervalSeconds": 900,
        "agentId": "chad",
        "prompt": None,
        "keywords": [],
        "maxItems": 10,
        "method": "GET",
        "headers": {},
        "expectedStatus": None,
        "timeoutMs": 10_000,
        "trigger": "on_change",
        "createdBy": mira.uid,
        "workspaceId": mira.workspace_id,
        "lastRun": None,
        "nextRunAt": None,
        "errors": 0,
        "disabledReason": None,
    }
    assert expected.items() <= shown.items()
    assert (await mira.get(ROOT)).json() == {"heartbeats": [shown], "total": 1}

    path = f"{ROOT}/{shown['id']}"
    changes = {"prompt": "Look: {{items}}", "keywords": ["a"], "intervalSeconds": 600, "feeds": [FEED, f"{FEED}?2"]}
    changed = await mira.call("PATCH", path, changes)
    assert changed.status_code == 200, changed.text
    assert {**changes, "intervalMinutes": 10, "name": "News"}.items() <= changed.json().items()
    assert b'"intervalMinutes":10,' in changed.content  # whole minutes are no fraction to whoever reads integers
    assert (await mira.get(f"{path}/runs")).json() == {"runs": [], "total": 0, "limit": 20, "offset": 0}

    deleted = await mira.call("DELETE", path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for gone in (mira.call("DELETE", path), mira.call("PATCH", path, {}), mira.get(f"{path}/runs")):
        assert problem(await gone)[:2] == (404, "NOT_FOUND")
    assert (await mira.get(ROOT)).json()["total"] == 0


async def test_the_other_names_of_fields_are_taken(mira: Caller) -> None:
    other = {"name": "n", "source": "rss", "feeds": [FEED], "intervalSeconds": 301, "enabled": False}
    answer = await mira.call("POST", ROOT, other)
    assert answer.status_code == 201, answer.text
    assert {"type": "rss", "url": FEED, "intervalSeconds": 301}.items() <= answer.json().items()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "name"),
    ({"name": ""}, "name"),
    ({"name": " \t"}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"type": "carrier pigeon"}, "type"),
    ({"type": None}, "type"),
    ({"source": "http"}, "source"),
    ({"url": None}, "url"),
    ({"url": "ftp://news.example.org/"}, "url"),
    ({"url": "https://inside.example.org/"}, "url"),
    ({"url": "http://10.0.0.1/"}, "url"),
    ({"url": "http://[::1]/"}, "url"),
    ({"url": "http://169.254.169.254/latest"}, "url"),
    ({"url": None, "feeds": []}, "feeds"),
    ({"url": None, "feeds": [f"{FEED}?{n}" for n in range(11)]}, "feeds"),
    ({"url": None, "feeds": [FEED, "http://10.0.0.1/"]}, "feeds[1]"),
    ({"intervalMinutes": None}, "intervalMinutes"),
    ({"intervalMinutes": 4}, "intervalMinutes"),
    ({"intervalMinutes": 10_081}, "intervalMinutes"),
    ({"intervalMinutes": None, "intervalSeconds": 299}, "intervalSeconds"),
    ({"intervalSeconds": 600}, "intervalSeconds"),
    ({"prompt": "x" * 4001}, "prompt"),
    ({"maxItems": 0}, "maxItems"),
    ({"type": "http", "method": "DELETE"}, "method"),
    ({"type": "http", "headers": {"Host": "elsewhere"}}, "headers.Host"),
    ({"type": "http", "expectedStatus": 99}, "expectedStatus"),
    ({"type": "http", "select": "items"}, "select"),
    ({"type": "http", "timeoutMs": 10_001}, "timeoutMs"),
    ({"type": "http", "trigger": "sometimes"}, "trigger"),
    ({"type": "http", "method": "HEAD", "contains": "x"}, "contains"),
    ({"name": "a\x00b"}, "name"),
]
"""What cannot be, and the field that is named then."""


async def test_what_cannot_be_is_refused_by_the_name_of_its_field(mira: Caller) -> None:
    for fields, path in WRONG:
        body = {name: value for name, value in {**NEW, **fields}.items() if value is not None}
        assert problem(await mira.call("POST", ROOT, body)) == (400, "VALIDATION", [path]), fields


async def test_a_change_is_held_to_the_same_rules(mira: Caller) -> None:
    path = f"{ROOT}/{(await made(mira))['id']}"
    for fields, field in (
        ({"intervalMinutes": 3}, "intervalMinutes"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"select": "x"}, "select"),
        ({"name": "  "}, "name"),
        ({"enabled": "yes"}, "enabled"),
    ):
        assert problem(await mira.call("PATCH", path, fields)) == (400, "VALIDATION", [field])
    assert problem(await mira.call("PATCH", path, {"agentId": "nobody"}))[:2] == (404, "NOT_FOUND")
    assert problem(await mira.call("POST", ROOT, {**NEW, "agentId": "nobody"}))[:2] == (404, "NOT_FOUND")


async def test_a_name_that_cannot_be_resolved_now_is_no_reason_to_refuse(mira: Caller) -> None:
    assert (await made(mira, url="https://unknown.example.org/feed"))["url"] == "https://unknown.example.org/feed"


async def test_secrets_in_headers_are_not_shown_and_what_is_shown_may_be_sent_back(
    mira: Caller, receiver: Receiver
) -> None:
    receiver.gate.set()
    headers = {"Authorization": "Bearer s3cret", "X-Plain": "seen"}
    shown = await made(mira, type="http", url=receiver.url, headers=headers, enabled=True)
    assert shown["headers"] == {"Authorization": "[hidden]", "X-Plain": "seen"}
    assert "s3cret" not in (await mira.get(ROOT)).text
    await receiver.wait(1)
    back = {**shown["headers"], "X-Plain": "other"}
    await mira.call("PATCH", f"{ROOT}/{shown['id']}", {"headers": back, "enabled": False})
    await mira.call("PATCH", f"{ROOT}/{shown['id']}", {"enabled": True})
    first, second = await receiver.wait(2)
    assert first.headers["authorization"] == second.headers["authorization"] == "Bearer s3cret"
    assert (first.headers["x-plain"], second.headers["x-plain"]) == ("seen", "other")


async def test_a_secret_goes_to_no_other_origin_unless_it_is_given_again(mira: Caller) -> None:
    headers = {"Authorization": "Bearer s3cret", "X-Plain": "seen"}
    path = f"{ROOT}/{(await made(mira, type='http', headers=headers))['id']}"
    for url in ("https://94.1.1.1/feed.xml", "http://news.example.org/feed.xml", "https://news.example.org:8443/"):
        for kept in ({}, {"headers": {"Authorization": "[hidden]"}}):
            refused = problem(await mira.call("PATCH", path, {"url": url, **kept}))
            assert refused == (400, "VALIDATION", ["headers.Authorization"])
        for fine in ({"headers": {"X-Plain": "seen"}}, {"headers": {"Authorization": "Bearer other"}}):
            again = f"{ROOT}/{(await made(mira, type='http', headers=headers))['id']}"
            assert (await mira.call("PATCH", again, {"url": url, **fine})).status_code == 200
    assert (await mira.call("PATCH", path, {"url": "https://news.example.org/other"})).status_code == 200


async def test_the_same_request_again_with_its_key_is_answered_as_the_first_time(mira: Caller) -> None:
    first, again = [await mira.call("POST", ROOT, NEW, X_Idempotency_Key="k1") for _ in range(2)]
    assert (first.status_code, again.status_code, first.json()) == (201, 201, again.json())
    assert (await mira.get(ROOT)).json()["total"] == 1
    other = await mira.call("POST", ROOT, {**NEW, "name": "x"}, X_Idempotency_Key="k1")
    assert problem(other)[:2] == (409, "CONFLICT")


async def test_a_new_heartbeat_looks_at_once_and_its_runs_are_listed_in_pages(mira: Caller, receiver: Receiver) -> None:
    receiver.gate.set()
    receiver.script += [200, 503, 200]
    shown = await made(mira, type="http", url=receiver.url, enabled=True)
    path = f"{ROOT}/{shown['id']}"
    (run,) = await ended(mira, shown["id"], 1)
    assert {"status": "ok", "httpStatus": 200, "itemCount": 0, "error": None, "sessionId": None}.items() <= run.items()
    assert run["dueAt"] == shown["nextRunAt"]
    for count in (2, 3):
        for enabled in (False, True):
            await mira.call("PATCH", path, {"enabled": enabled})
        await ended(mira, shown["id"], count)
    page = await mira.get(f"{path}/runs?limit=1&offset=1")
    assert [(run["status"], run["error"]) for run in page.json()["runs"]] == [("error", "HTTP 503")]
    assert page.headers["link"] == f'<{path}/runs?limit=1&offset=2>; rel="next"'
    assert page.json()["total"] == 3
    last = (await mira.get(ROOT)).json()["heartbeats"][0]["lastRun"]
    assert (last["status"], last["itemCount"]) == ("unchanged", 0)
    assert problem(await mira.get(f"{path}/runs?limit=101")) == (400, "VALIDATION", ["limit"])


async def test_a_viewer_reads_a_member_changes_their_own_and_an_admin_all(platform: Platform, mira: Caller) -> None:
    path = f"{ROOT}/{(await made(mira))['id']}"
    viewer, member, admin = [
        await platform.member(mira, role) for role in (WorkspaceRole.VIEWER, WorkspaceRole.MEMBER, WorkspaceRole.ADMIN)
    ]
    for caller in (viewer, member, admin):
        assert (await caller.get(ROOT)).json()["total"] == 1
        assert (await caller.get(f"{path}/runs")).status_code == 200
    for caller in (viewer, member):
        assert problem(await caller.call("PATCH", path, {"prompt": "tell me all"}))[:2] == (403, "FORBIDDEN")
        assert problem(await caller.call("DELETE", path))[:2] == (403, "FORBIDDEN")
    assert problem(await viewer.call("POST", ROOT, NEW))[:2] == (403, "FORBIDDEN")
    own = f"{ROOT}/{(await made(member))['id']}"
    assert (await member.call("DELETE", own)).status_code == 204
    assert problem(await admin.call("PATCH", path, {"prompt": "tell me all"}))[:2] == (403, "FORBIDDEN")
    changed = await admin.call("PATCH", path, {"enabled": False, "intervalMinutes": 60, "name": "slower"})
    assert (changed.json()["enabled"], changed.json()["createdBy"]) == (False, mira.uid)
    assert (await admin.call("DELETE", path)).status_code == 204


async def test_another_workspaces_heartbeats_are_nobodys_business(platform: Platform, mira: Caller) -> None:
    path = f"{ROOT}/{(await made(mira))['id']}"
    noor = await platform.user()
    for method, where, body in (
        ("PATCH", path, {"enabled": True}),
        ("DELETE", path, None),
        ("GET", f"{path}/runs", None),
    ):
        assert problem(await noor.call(method, where, body))[:2] == (404, "NOT_FOUND")
        intruder = {"X_Workspace_Id": mira.workspace_id}
        assert (await noor.call(method, where, body, **intruder)).status_code == 403
        nobody = await platform.client.request(method, where, json=body)
        assert nobody.status_code == 401
    assert (await noor.get(ROOT)).json()["total"] == 0
    assert (await mira.get(ROOT)).json()["total"] == 1


async def test_every_change_leaves_a_line_in_the_audit_log(platform: Platform, mira: Caller) -> None:
    path = f"{ROOT}/{(await made(mira))['id']}"
    await mira.call("PATCH", path, {"keywords": ["x"]})
    await mira.call("DELETE", path)
    lines = await platform.store.audit.of_user(mira.uid)
    events = [line.event for line in lines if line.event.startswith("heartbeat.")]
    assert events == ["heartbeat.deleted", "heartbeat.updated", "heartbeat.created"]
