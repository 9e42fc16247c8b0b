"""What somebody who tries the product does first, against one server as it is shipped: with its limits.

Each test is a scenario of the acceptance list, under its number there. The others are proven elsewhere:

- 6, a grant and its end, restrictions: `test_workspaces`
- 7, a webhook that is taken at the third try: `test_webhooks`
- 8 and 9, a feed's third item, a page that changes, goes down and comes back: `test_heartbeats`
- 12, a decision that is found and used elsewhere, and hidden by a profile: `test_memory`
- 10, 11 and 13, jobs, the circuit breaker and batches: `test_acceptance_operation`
- 14, the database goes away under load and comes back: `test_outage`
- 15, strangers and viewers at every route: `test_strangers`
- 16, the document: `test_acceptance_conventions`, and every answer against its schema `test_openapi`
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest
import trio

from tests.support.client import PASSWORD, Client, connect, operator_get, register
from tests.support.database import TestServer
from tests.support.node import Node, free_port, node_of_a_module, some_email
from tests.support.provider import stand_in

PROVIDER = free_port()
ENVIRONMENT = {
    "RATE_LIMIT_MAX": "30",
    "OPENAI_API_KEY": "sk-x",
    "OPENAI_BASE_URL": f"http://127.0.0.1:{PROVIDER}/v1",
    "UNDERSTUDY_MODEL": "builtin/rehearsal",
}


@pytest.fixture(scope="module")
def dsn(pg_server: TestServer) -> Iterator[str]:
    with pg_server.database() as dsn:
        yield dsn


@pytest.fixture(scope="module")
def node(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with node_of_a_module(tmp_path_factory.mktemp("story"), dsn, ENVIRONMENT) as node:
        yield node


@asynccontextmanager
async def a_user_of(node: Node) -> AsyncGenerator[Client]:
    """Somebody new; the body has a minute."""
    with trio.fail_after(110):
        async with connect(node.url) as http:
            yield await register(http)


async def call(client: Client, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = {} if body is None else {"json": body}
    return await client.http.request(method, path, headers=client.headers | named, **content)


def in_the_database(dsn: str, query: bytes, *values: object) -> int:
    """Change rows; how many."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(query, values).rowcount


async def test_1_from_registration_to_a_conversation_that_is_found_again_and_begun_anew(node: Node) -> None:
    async with a_user_of(node) as mira:
        wanted = {"workspaceName": "Lighthouse", "agents": ["assistant"], "profile": {"name": "Mira"}}
        made = await call(mira, "POST", "/onboarding/setup", wanted)
        assert (made.status_code, made.json()["created"]) == (201, True)
        assert [agent["id"] for agent in made.json()["agents"]] == ["assistant"]
        again = await call(mira, "POST", "/onboarding/setup", wanted)
        assert (again.status_code, again.json()["created"]) == (200, False)

        first = (await mira.chat("the harbour opens at dawn", agentId="assistant")).json()
        assert first["content"]
        async with mira.stream("and what closes at dusk?", agentId="assistant") as events:
            seen = [event async for event in events]
        assert seen[0].type == "session_resolved"
        assert (seen[0].data["sessionId"], seen[0].data["isNew"]) == (first["sessionId"], False)
        deltas = "".join(event.data["content"] for event in seen if event.type == "content")
        assert (seen[-1].type, seen[-1].data["content"]) == ("done", deltas)

        (listed,) = (await call(mira, "GET", "/sessions")).json()["sessions"]
        assert (listed["id"], listed["agentId"], listed["messageCount"]) == (first["sessionId"], "assistant", 4)
        found = (await call(mira, "GET", "/sessions/search/messages?q=harbour")).json()["results"]
        assert "user" in {hit["role"] for hit in found}
        assert {hit["sessionId"] for hit in found} == {first["sessionId"]}

        reset = (await call(mira, "POST", "/agent/reset", {"agentId": "assistant"})).json()
        assert reset["archivedSessionId"] == first["sessionId"] != reset["sessionId"]
        afresh = (await mira.chat("good morning", agentId="assistant")).json()
        assert afresh["sessionId"] == reset["sessionId"]
        archived = (await call(mira, "GET", "/sessions?status=archived")).json()["sessions"]
        assert [session["id"] for session in archived] == [first["sessionId"]]
        assert (await call(mira, "GET", "/sessions/search/messages?q=harbour")).json()["results"], "still to be found"


async def test_2_a_repeated_request_is_one_inference_past_a_restart_until_its_five_minutes_are_over(
    node: Node, dsn: str
) -> None:
    agent = {"id": "asked", "model": {"provider": "openai", "modelId": "fake"}, "systemPromptTemplate": "Answer."}
    async with stand_in(port=PROVIDER) as provider, a_user_of(node) as mira:
        await call(mira, "POST", "/agents", agent)
        ask = partial(mira.chat, "hello", key="k1", agentId="asked")
        first, second = await ask(), await ask()
        assert first.status_code == 200, first.text
        assert second.content == first.content
        assert "idempotency-replayed" not in first.headers
        assert second.headers["idempotency-replayed"] == "true"
        other = await mira.chat("good bye", key="k1", agentId="asked")
        assert (other.status_code, other.json()["code"]) == (409, "CONFLICT")

        node.kill()
        await node.start()
        third = await ask()
        assert (third.content, third.headers["idempotency-replayed"]) == (first.content, "true")
        assert len(provider.requests) == 1

        keys = b"UPDATE idempotency_keys SET expires_at = expires_at - interval '5 minutes' WHERE key = 'k1'"
        assert in_the_database(dsn, keys) == 1
        afresh = await ask()
        assert (afresh.status_code, "idempotency-replayed" in afresh.headers) == (200, False)
        assert len(provider.requests) == 2


async def test_3_the_thirty_first_chat_in_a_minute_is_told_when_to_come_back(node: Node) -> None:
    async with a_user_of(node) as mira, a_user_of(node) as noor:
        for left in reversed(range(30)):
            answer = await mira.chat("/help")
            assert (answer.status_code, answer.headers["ratelimit-remaining"]) == (200, str(left))
        answer = await mira.chat("/help")
        assert (answer.status_code, answer.json()["code"]) == (429, "RATE_LIMIT")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["ratelimit-remaining"] == "0"
        assert (await noor.chat("/help")).status_code == 200


async def test_4_a_refresh_token_that_comes_again_ends_its_whole_family_and_is_told_of(node: Node, dsn: str) -> None:
    async with connect(node.url) as http:
        with trio.fail_after(110):
            account = {"email": some_email(), "password": PASSWORD}
            registered = (await http.post("/auth/register", json=account)).json()
            stolen = {"refreshToken": registered["refreshToken"]}
            rotated = (await http.post("/auth/refresh", json=stolen)).json()
            race = await http.post("/auth/refresh", json=stolen)
            assert race.json()["refreshToken"] == rotated["refreshToken"], "a client that raced with itself"

            tokens = b"UPDATE refresh_tokens SET rotated_at = rotated_at - interval '11 seconds' WHERE uid = %s"
            assert in_the_database(dsn, tokens, registered["user"]["id"])
            replayed = await http.post("/auth/refresh", json=stolen)
            assert (replayed.status_code, replayed.json()["code"]) == (401, "TOKEN_REPLAY")
            heir = await http.post("/auth/refresh", json={"refreshToken": rotated["refreshToken"]})
            assert heir.status_code == 401, "whoever has the successor is signed out too"

            path = f"/admin/audit/{registered['user']['id']}"
            while "security.token_replay" not in {
                entry["event"] for entry in (await operator_get(http, path))["entries"]
            }:
                await trio.sleep(0.02)
            assert (await http.post("/auth/login", json=account)).status_code == 200


async def test_5_an_agent_is_changed_three_times_and_rolled_back_to_its_first_version(node: Node) -> None:
    def saying(prompt: str) -> dict[str, Any]:
        return {"model": {"provider": "builtin", "modelId": "rehearsal"}, "systemPromptTemplate": prompt}

    async with a_user_of(node) as mira:
        made = await call(mira, "POST", "/agents", {"id": "clerk", **saying("Be brief.")})
        assert (made.status_code, made.json()["version"]) == (201, 1)
        for number, prompt in enumerate(("Be kind.", "Be bold.", "Be off."), start=2):
            changed = await call(mira, "PUT", "/agents/clerk", saying(prompt))
            assert (changed.status_code, changed.json()["version"]) == (200, number)

        tag = (await call(mira, "GET", "/agents/clerk")).headers["etag"]
        same = await call(mira, "GET", "/agents/clerk", If_None_Match=tag)
        assert (same.status_code, same.content) == (304, b"")

        back = (await call(mira, "POST", "/agents/clerk/versions/1/rollback")).json()
        assert (back["version"], back["systemPromptTemplate"]) == (5, "Be brief.")
        other = await call(mira, "GET", "/agents/clerk", If_None_Match=tag)
        assert (other.status_code, other.json()["systemPromptTemplate"]) == (200, "Be brief.")
        assert other.headers["etag"] != tag

        label = await call(mira, "PATCH", "/agents/clerk/versions/1", {"label": "the good one"})
        assert (label.status_code, label.json()["label"]) == (200, "the good one")
        versions = (await call(mira, "GET", "/agents/clerk/versions")).json()
        assert [(each["version"], each["current"]) for each in versions] == [
            (5, True), (4, False), (3, False), (2, False), (1, False),
        ]  # fmt: skip
        assert versions[-1]["label"] == "the good one"
