"""Requests with keys, while what serves them is killed again and again."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import trio

from tests.support.client import connect, operator_post, register
from tests.support.node import running_node
from understudy.actors.agents.messages import AGENTS
from understudy.actors.heartbeats.messages import HEARTBEATS
from understudy.actors.idempotency.messages import IDEMPOTENCY
from understudy.actors.jobs.messages import JOBS
from understudy.actors.memory.messages import MEMORY
from understudy.actors.memory_profiles.messages import MEMORY_PROFILES
from understudy.actors.webhooks.messages import WEBHOOKS
from understudy.actors.workspaces.messages import WORKSPACES
from understudy.storage.pool import Pool

ENVIRONMENT = {"ALLOW_INSECURE_WEBHOOKS": "true", "UNDERSTUDY_OUTBOUND_ALLOW": "127.0.0.0/8"}
KILLED = (AGENTS, HEARTBEATS, IDEMPOTENCY, JOBS, MEMORY, MEMORY_PROFILES, WEBHOOKS, WORKSPACES, "storage/journal")
EACH = 6
PAUSE, SLOWING = 0.05, 1.1
"""The longest pause between two kills at first, and what each kill makes of it: requests get through on any machine."""
LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()
HERE = "http://127.0.0.1:9/"


def things(number: int) -> dict[str, dict[str, Any]]:
    """One of each thing that can be made, by the path where it is."""
    model = {"provider": "builtin", "modelId": "rehearsal"}
    job = {"type": "agent.run", "payload": {"agentId": "chad", "message": "hi"}, "runAt": LATER}
    return {
        "/webhooks": {"url": HERE, "events": ["*"]},
        "/heartbeat": {"name": "News", "type": "rss", "url": HERE, "intervalMinutes": 15, "enabled": False},
        "/jobs": job,
        "/agent/memory/notes": {"content": "likes tea"},
        "/agents": {"id": f"helper-{number}", "model": model, "systemPromptTemplate": "Help."},
        "/memory-profiles": {"name": f"lean {number}"},
        "/workspaces": {"name": "Another", "plan": "team"},
    }


TABLES = {
    "/webhooks": "webhooks",
    "/heartbeat": "heartbeat_configs",
    "/jobs": "jobs WHERE NOT internal",
    "/agent/memory/notes": "memory_entries",
    "/agents": "agent_configs",
    "/memory-profiles": "memory_profiles",
    "/workspaces": "workspaces WHERE plan = 'team'",
}


async def kill_on(http: httpx.AsyncClient, address: str, rng: random.Random) -> None:
    """Over and over, with pauses that are about as long as a request, and then longer ones."""
    pause = PAUSE
    while True:
        await operator_post(http, f"/diagnostics/actors/{address}/kill")
        await trio.sleep(rng.uniform(0.0, pause))
        pause *= SLOWING


async def test_of_keyed_requests_repeated_until_they_are_answered_each_is_done_once(
    tmp_path: Path, pg_dsn: str, pool: Pool
) -> None:
    made: dict[str, set[str]] = {path: set() for path in TABLES}
    failed = 0
    with trio.fail_after(100):
        async with (
            running_node(tmp_path, database_url=pg_dsn, environment=ENVIRONMENT) as node,
            connect(node.url) as http,
        ):
            mira = await register(http)

            async def make(path: str, body: dict[str, Any], number: int) -> None:
                nonlocal failed
                headers = {**mira.headers, "X-Workspace-Id": home, "X-Idempotency-Key": f"key-{number}"}
                while (answer := await http.post(path, json=body, headers=headers)).status_code not in {201, 202}:
                    assert answer.status_code in {429, 503, 504}, answer.text
                    failed += 1
                    await trio.sleep(0.01)
                made[path].add(answer.text)

            async def make_all(path: str) -> None:
                for number in range(EACH):
                    await make(path, things(number)[path], number)

            home = (await http.get("/workspaces", headers=mira.headers)).json()["workspaces"][0]["id"]
            rng = random.Random(20261122)
            async with trio.open_nursery() as killers:
                for address in KILLED:
                    killers.start_soon(kill_on, http, address, rng)
                async with trio.open_nursery() as nursery:
                    for path in TABLES:
                        nursery.start_soon(make_all, path)
                killers.cancel_scope.cancel()
            async with pool.connection() as connection:
                for path, table in TABLES.items():
                    found = await connection.execute(f"SELECT count(*) FROM {table}".encode())
                    ((count,),) = await found.fetchall()
                    assert (path, count, len(made[path])) == (path, EACH, EACH)
    assert failed > 0, "nobody was killed in the middle of anything"
