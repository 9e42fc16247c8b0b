"""What every operation has in common, held against the server's own OpenAPI document: what it lists is what is tried.

Scenario 16 of the acceptance list, with `tests/http/test_operations.py` (the 89 operations are listed) and
`test_openapi` (what is answered fits its schema).
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx
import psycopg
import pytest
import trio

from tests.support.client import connect, register
from tests.support.database import TestServer
from tests.support.document import Documented, documented
from tests.support.house import BODIES, ENVIRONMENT, Stage, asked, move_in
from tests.support.node import INTERNAL_KEY, Node, node_of_a_module
from tests.support.operations import PLATFORM, shape
from understudy.storage.pool import Pool

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "strict-transport-security": "max-age=63072000; includeSubDomains; preload",
    "referrer-policy": "strict-origin-when-cross-origin",
}
SAME = ("content-type", "cache-control", "location", "etag")
"""What belongs to an answer also when it is given again."""
TOO_LARGE = b'{"x":"' + b"x" * 1024 * 1024 + b'"}'

KEYLESS = {
    "login": "makes nothing that a second one would double",
    "logout": "done twice is done once",
    "refresh": "the token itself counts once",
    "register": "its answer is made of secrets, which are not kept; the address can be taken once",
    "createKey": "its answer is a secret, which is not kept; the name can be taken once",
    "cancelTurn": "done twice is done once",
    "clearToolCache": "done twice is done once",
    "resumeAgent": "done twice is done once",
    "suspendActor": "done twice is done once",
    "resumeActor": "done twice is done once",
    "restartActor": "an operator who asks twice means it",
    "killActor": "an operator who asks twice means it",
}
"""POSTs that take no idempotency key, and why: a new one is put here by whoever means that."""


@attrs.frozen
class House:
    """A server with a thing of each kind, and two of what is listed."""

    node: Node
    stage: Stage
    things: dict[str, str]

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[tuple[httpx.AsyncClient, tuple[Documented, ...]]]:
        """A client, and what there is to ask. The body has a minute."""
        with trio.fail_after(110):
            async with connect(self.node.url) as http:
                yield http, await documented(http)


@pytest.fixture(scope="module")
def house(pg_server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with (
        pg_server.database() as dsn,
        node_of_a_module(tmp_path_factory.mktemp("conventions"), dsn, ENVIRONMENT) as node,
    ):
        stage, things = trio.run(furnished, node, dsn)
        yield House(node, stage, things)


async def furnished(node: Node, dsn: str) -> tuple[Stage, dict[str, str]]:
    async with connect(node.url) as http:
        pool = Pool(dsn, min_size=0, max_size=2)
        await pool.open()
        stage = await move_in(http, pool)
        await pool.close()
        mira, things = stage.mira, stage.things
        await asked(http, mira, "POST", "/agent/chat", {"message": "hello", "surfaceId": "second"})
        await asked(http, mira, "PUT", "/agents/helper", BODIES["replaceAgent"])
        await asked(http, mira, "POST", "/jobs", {"type": "noop", "payload": {}})
        await asked(http, mira, "POST", f"/webhooks/{things['webhooks.id']}/test")
        (sent,) = (await asked(http, mira, "GET", f"/webhooks/{things['webhooks.id']}/deliveries"))["deliveries"]
        other = await register(http)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO approvals SELECT"
            " (json_populate_record(a, json_build_object('id', 'apr_' || n, 'tool_call_id', 'tc_' || n))).*"
            " FROM approvals a, generate_series(2, 4) n"  # two are left to be listed when two were decided
        )
        connection.execute(
            "INSERT INTO heartbeat_runs (id, heartbeat_id, due_at, status, attempt, owner, lease_until, started_at,"
            " finished_at) SELECT 'hbr_' || n, %s, now() - n * interval '1 hour', 'ok', 1, 'x', now(), now(), now()"
            " FROM generate_series(1, 2) n",
            (things["heartbeat.id"],),
        )
    return stage, things | {
        "webhooks.deliveryId": sent["id"],
        "admin.uid": things["workspaces.uid"],
        "admin.id": "helper",
        "autonomous.id": "job_nowhere",
        "diagnostics.address": "identity",
        "somebody else": other.uid,
    }


def refused(answer: httpx.Response, status: int, code: str, what: object) -> Any:
    """Hold an error to the envelope; its body."""
    told = answer.json()
    assert (answer.status_code, told["code"]) == (status, code), f"{what}: {answer.status_code} {answer.text[:300]}"
    assert answer.headers["content-type"] == "application/json", what
    assert told.keys() <= {"error", "code", "requestId", "details"}, what
    assert told["error"], what
    assert told["requestId"] == answer.headers["x-request-id"], what
    return told


async def test_16_the_document_lists_all_operations(house: House) -> None:
    async with house.open() as (http, operations):
        assert (await http.get("/openapi.json")).json()["openapi"].startswith("3.1")
        listed = {f"{each.method} {shape(each.path)}" for each in operations}
        assert {f"{method} {shape(path)}" for method, path in (each.split(" ") for each in PLATFORM)} <= listed
        assert len({each.id for each in operations}) == len(operations)


async def test_every_answer_has_the_security_headers_and_the_request_s_id(house: House) -> None:
    async with house.open() as (http, operations):
        for number, each in enumerate(operations):
            ways = [{}, each.headers(house.stage)] if each.method == "GET" else [{}]
            for who in ways:
                given = f"conventions-{number}"
                answer = await http.request(each.method, each.url(house.things), headers=who | {"X-Request-ID": given})
                assert answer.headers["x-request-id"] == given, each
                assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY, each
                assert "object-src 'none'" in answer.headers["content-security-policy"], each
                assert "camera=()" in answer.headers["permissions-policy"], each
                assert answer.headers.keys().isdisjoint({"server", "x-powered-by"}), each


async def test_every_error_of_the_framework_is_in_the_envelope(house: House) -> None:
    async with house.open() as (http, operations):
        by_path: dict[str, set[str]] = {}
        for each in operations:
            by_path.setdefault(each.path, set()).add(each.method)
        for each in operations:
            who, url = each.headers(house.stage), each.url(house.things)
            nowhere = await http.get(f"{url.partition('?')[0]}/no/such/thing", headers=who)
            refused(nowhere, 404, "NOT_FOUND", f"nothing behind {each}")
            wrong = next(name for name in ("PATCH", "PUT", "DELETE") if name not in by_path[each.path])
            told = await http.request(wrong, url, headers=who)
            refused(told, 405, "METHOD_NOT_ALLOWED", f"{wrong} {each.path}")
            assert by_path[each.path] <= set(told.headers["allow"].split(", ")), each
            if each.method in {"POST", "PUT", "PATCH"}:
                answer = await http.request(each.method, url, headers=who, content=TOO_LARGE)
                refused(answer, 413, "PAYLOAD_TOO_LARGE", f"{each} with a megabyte and more")
                assert "413" in each.spec["responses"], each
            if "requestBody" in each.spec:
                answer = await http.request(each.method, url, headers=who, content=b'{"a": ')
                told_of = refused(answer, 400, "VALIDATION", f"{each} with half a body")
                assert told_of["details"] == [{"path": "body", "issue": "malformed_json"}], each


TRAPS = {
    "/sessions/search/messages?q=recipe": "results",
    "/skills/cache/stats": "hits",
    "/memory-profiles/agents/helper/memory-profile": "effective",
    "/diagnostics/quick": "checks",
    "/diagnostics/history": "runs",
    "/diagnostics/circuit-breakers": "breakers",
}
"""Paths with a word where others have an id, and what only their own answer has."""


async def test_words_in_paths_are_never_taken_for_ids_nor_can_be_ids(house: House) -> None:
    async with house.open() as (http, _):
        who = house.stage.mira | {"X-Api-Key": INTERNAL_KEY}
        for path, field in TRAPS.items():
            answer = await http.get(path, headers=who)
            assert (answer.status_code, field in answer.json()) == (200, True), f"{path}: {answer.text}"
        for word in ("search", "cache", "agents"):
            agent = BODIES["replaceAgent"] | {"id": word}
            for path, body in (("/agents", agent), ("/onboarding/setup", {"agents": [agent], "force": True})):
                told = refused(await http.post(path, json=body, headers=who), 400, "VALIDATION", f"{path} {word}")
                assert told["details"][0]["issue"] == "reserved", told
            refused(await http.get(f"/skills/{word}", headers=who), 404, "NOT_FOUND", word)
            made = await asked(http, who, "POST", "/workspaces", {"name": word, "id": word})
            assert made["id"].startswith("ws_")
        grants = f"/workspaces/{house.stage.house}/grants"
        wish = {"receivingWorkspaceId": house.stage.annex, "agentId": "helper"}
        await asked(http, who, "POST", grants, wish)
        gone = [(await http.request("DELETE", grants, json=wish, headers=who)).status_code for _ in range(2)]
        assert gone == [204, 404], "a DELETE whose body says what"


async def test_every_list_that_has_pages_has_them_alike(house: House) -> None:
    async with house.open() as (http, operations):
        for each in operations:
            limit = each.takes("limit", "query")
            if limit is None:
                assert each.takes("offset", "query") is None, each
                continue
            get = Paging(http, each, house)
            most = max(one["maximum"] for one in (limit, *limit.get("anyOf", ())) if "maximum" in one)
            for wrong in (0, -1, "many", most + 1):
                told = refused(await get(limit=wrong), 400, "VALIDATION", f"{each} limit={wrong}")
                assert told["details"][0]["path"] == "limit", each
            assert (await get(limit=most)).status_code == 200, each
            if each.takes("offset", "query") is not None:
                told = refused(await get(offset=-1), 400, "VALIDATION", f"{each} offset=-1")
                assert told["details"][0]["path"] == "offset", each
                await get.leaf_through()


@attrs.frozen
class Paging:
    """A list, asked for piece by piece."""

    http: httpx.AsyncClient
    operation: Documented
    house: House

    async def __call__(self, **query: object) -> httpx.Response:
        return await self.follow(self.operation.url(self.house.things, **query))

    async def follow(self, url: str) -> httpx.Response:
        return await self.http.get(url, headers=self.operation.headers(self.house.stage))

    def items(self, answer: httpx.Response, offset: int) -> list[Any]:
        """What is on a page of one; what it says of itself is true."""
        page = answer.json()
        if isinstance(page, list):
            return page
        assert (page["limit"], page["offset"]) == (1, offset), self.operation
        (listed,) = [value for value in page.values() if isinstance(value, list)]
        return listed

    async def leaf_through(self) -> None:
        """Two pages of one, by the link of the first, and one behind the end."""
        first = await self(limit=1)
        assert "next" in first.links, f"{self.operation}: there is nothing to leaf through"
        second = await self.follow(first.links["next"]["url"])
        one, other = self.items(first, 0), self.items(second, 1)
        assert (len(one), len(other), one != other) == (1, 1, True), self.operation
        beyond = await self(limit=1, offset=1000)
        assert (self.items(beyond, 1000), "next" in beyond.links) == ([], False), self.operation
        if isinstance(page := first.json(), dict):
            last = int(page.get("total") or page["count"]) - 1
            assert "next" not in (await self(limit=1, offset=last)).links, self.operation


GOOD: dict[str, Callable[[House], Any]] = {
    "chat": lambda _: {"message": "hello", "agentId": "helper"},
    "chatStream": lambda _: {"message": "hello", "agentId": "helper"},
    "createAgent": lambda _: BODIES["replaceAgent"] | {"id": "clerk"},
    "createHeartbeat": lambda _: {
        "name": "page", "type": "http", "url": "http://127.0.0.1:9/in", "intervalMinutes": 5, "enabled": False,
    },
    "createJob": lambda _: {"type": "noop", "payload": {}},
    "createWebhook": lambda _: {"url": "http://127.0.0.1:9/in", "events": ["job.failed"]},
    "grantAgent": lambda house: {"receivingWorkspaceId": house.stage.annex, "agentId": "helper"},
    "handOffSession": lambda _: {"agentId": "chad"},
    "mcp": lambda _: BODIES["mcp"],
    "resetSession": lambda _: {"agentId": "helper", "surfaceId": "third"},
    "runAutonomously": lambda house: task_of(house),
    "runBatch": lambda house: {"tasks": [task_of(house)]},
    "setMember": lambda house: {"uid": house.things["somebody else"]},
}  # fmt: skip
"""Bodies that do something in the house, for operations whose example does not."""


def task_of(house: House) -> dict[str, str]:
    return {"uid": house.things["admin.uid"], "workspaceId": house.stage.house, "taskMessage": "hello"}


async def test_every_post_that_makes_or_runs_something_does_so_once_for_a_key(house: House) -> None:
    async with house.open() as (http, operations):
        posts = [each for each in operations if each.method == "POST"]
        keyed = [each for each in posts if each.takes("X-Idempotency-Key", "header") is not None]
        assert {each.id for each in posts if each not in keyed} == KEYLESS.keys()
        for each in keyed:
            body = GOOD[each.id](house) if each.id in GOOD else each.example
            about = house.things | ({"approvals.id": "apr_2"} if each.id == "deny" else {})
            who = each.headers(house.stage) | {"Accept": "application/json, text/event-stream"}

            async def post(content: Any, name: str) -> httpx.Response:
                given = {} if content is None else {"json": content}
                return await http.post(each.url(about), headers=who | {name: "k"}, **given)  # noqa: B023

            first, second = await post(body, "X-Idempotency-Key"), await post(body, "Idempotency-Key")
            assert first.status_code < 300, f"{each}: {first.text}"
            assert "idempotency-replayed" not in first.headers, each
            assert second.headers.get("idempotency-replayed") == "true", each
            assert (second.status_code, second.content) == (first.status_code, first.content), each
            assert [second.headers.get(name) for name in SAME] == [first.headers.get(name) for name in SAME], each
            refused(await post({**(body or {}), "another": 1}, "X-Idempotency-Key"), 409, "CONFLICT", each)
