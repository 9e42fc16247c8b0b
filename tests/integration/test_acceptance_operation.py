"""What operators and programs try: work in the background, batches, a provider that fails and comes back.

The numbers are those of the acceptance list; `test_acceptance_story` says where the other scenarios are.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
import trio

from tests.support.client import Client, connect, operator_get, register
from tests.support.database import TestServer
from tests.support.node import INTERNAL_KEY, Node, free_port, node_of_a_module
from tests.support.provider import Behaviour, stand_in

PROVIDER = free_port()
ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-x",
    "OPENAI_BASE_URL": f"http://127.0.0.1:{PROVIDER}/v1",
    "UNDERSTUDY_MODEL": "builtin/rehearsal",
    "UNDERSTUDY_CIRCUIT_OPEN": "1500ms",
}
DOWN = Behaviour(status=529, retry_after="3600")
"""Overloaded for so long that nobody waits: one request, one failure."""


@pytest.fixture(scope="module")
def dsn(pg_server: TestServer) -> Iterator[str]:
    with pg_server.database() as dsn:
        yield dsn


@pytest.fixture(scope="module")
def node(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with node_of_a_module(tmp_path_factory.mktemp("operation"), dsn, ENVIRONMENT) as node:
        yield node


async def ask(client: Client, method: str, path: str, body: Any = None) -> httpx.Response:
    content = {} if body is None else {"json": body}
    return await client.http.request(method, path, headers=client.headers, **content)


async def test_10_a_job_fails_twice_and_succeeds_a_pending_one_is_cancelled_and_a_running_one_is_not(
    node: Node, dsn: str
) -> None:
    async with connect(node.url) as http:
        with trio.fail_after(110):
            mira = await register(http)

            async def enqueue(run_at: str | None = None, **payload: Any) -> str:
                taken = await ask(mira, "POST", "/jobs", {"type": "noop", "payload": payload, "runAt": run_at})
                assert (taken.status_code, taken.json()["attempts"]) == (202, 0)
                return str(taken.json()["id"])

            async def until(job_id: str, *statuses: str) -> dict[str, Any]:
                while (job := (await ask(mira, "GET", f"/jobs/{job_id}")).json())["status"] not in statuses:
                    await trio.sleep(0.01)
                found: dict[str, Any] = job
                return found

            stubborn = await enqueue(fail=2)
            for attempt in (1, 2):
                while (job := await until(stubborn, "pending", "completed"))["attempts"] < attempt:
                    await trio.sleep(0.01)
                if job["status"] == "pending":
                    # It waits for its next attempt: that is due now, and somebody looks.
                    with psycopg.connect(dsn) as connection:
                        due = b"UPDATE jobs SET run_at = clock_timestamp() WHERE id = %s AND status = 'pending'"
                        connection.execute(due, (stubborn,))
                    await until(await enqueue(), "completed")
            done = await until(stubborn, "completed")
            assert (done["attempts"], done["result"]) == (3, {"attempt": 3})

            tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
            waiting, running = await enqueue(run_at=tomorrow), await enqueue(sleepMs=60_000)
            await until(running, "running")
            cancelled = await ask(mira, "DELETE", f"/jobs/{waiting}")
            assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
            for job_id in (waiting, running):
                conflict = await ask(mira, "DELETE", f"/jobs/{job_id}")
                assert (conflict.status_code, conflict.json()["code"]) == (409, "CONFLICT")
            stopped = await ask(mira, "DELETE", f"/jobs/{running}?force=true")
            assert (stopped.status_code, stopped.json()["status"]) == (200, "cancelled")


async def test_11_a_provider_that_fails_five_times_is_left_alone_then_tried_until_it_has_succeeded_twice(
    node: Node,
) -> None:
    agent = {"id": "asked", "model": {"provider": "openai", "modelId": "fake"}, "systemPromptTemplate": "Answer."}
    async with stand_in(DOWN, port=PROVIDER) as provider, connect(node.url) as http:
        with trio.fail_after(110):
            mira = await register(http)
            await ask(mira, "POST", "/agents", agent)

            async def breaker() -> dict[str, Any]:
                (shown,) = [
                    each
                    for each in (await operator_get(http, "/diagnostics/circuit-breakers"))["breakers"]
                    if each["provider"] == "openai"
                ]
                found: dict[str, Any] = shown
                return found

            assert (await breaker())["state"] == "closed"
            for _ in range(5):
                failed = await mira.chat("hello", agentId="asked")
                assert (failed.status_code, failed.json()["code"]) == (502, "PROVIDER_ERROR")
            shown = await breaker()
            assert shown["openedAt"] < shown["nextAttemptAt"]
            if shown["state"] == "open":  # no more, on a machine that is busy enough
                assert shown["failures"] == 5
            while (await breaker())["state"] != "half-open":
                await trio.sleep(0.02)
            again = await mira.chat("hello", agentId="asked")
            assert again.status_code == 502, "the one trial failed"
            assert len(provider.requests) == 6
            alone = await mira.chat("hello", agentId="asked")
            assert (alone.status_code, alone.json()["code"]) == (503, "CIRCUIT_OPEN")
            assert int(alone.headers["retry-after"]) in {1, 2}
            assert len(provider.requests) == 6, "nobody asked it"

            provider.default = Behaviour(text="Here I am.")
            while (await breaker())["state"] != "half-open":
                await trio.sleep(0.02)
            states = []
            for _ in range(2):
                assert (await mira.chat("hello", agentId="asked")).json()["content"] == "Here I am."
                states.append((await breaker())["state"])
            assert states == ["half-open", "closed"]


async def test_13_a_batch_with_somebody_unknown_succeeds_in_part(node: Node) -> None:
    async with connect(node.url) as http:
        with trio.fail_after(110):
            mira = await register(http)
            batch = {"uids": [mira.uid, "usr_nobody"], "agentId": "chad", "taskMessage": "hello"}
            key = {"X-Api-Key": INTERNAL_KEY, "X-Idempotency-Key": "monday"}
            answer = await http.post("/autonomous/batch", json=batch, headers=key)
            assert answer.status_code == 207
            later = await http.post("/autonomous/batch?async=true", json=batch, headers=key)
            assert (later.status_code, later.json()["code"]) == (409, "CONFLICT"), "another request, by its query"
            told = answer.json()
            assert (told["total"], told["succeeded"], told["failed"]) == (2, 1, 1)
            good, bad = told["results"]
            assert (good["status"], bad["status"], bad["code"]) == (200, 404, "NOT_FOUND")
            assert (await mira.session(good["sessionId"]))["messages"][-1]["content"] == good["content"]
