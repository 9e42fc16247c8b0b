"""A server on which Mira has a house (a team's workspace) with one of each thing in it, and an annex.

Everything in the house holds the word `HOUSE`, and what is Mira's own within it also `MIRAS`: where it shows, it was
shown. What there is to ask is read from the application itself.
"""

import functools
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx

from tests.support.client import Client, connect, register
from tests.support.node import running_node
from understudy.http.app import create_app
from understudy.http.operation import Auth, Operation, operation_of
from understudy.storage.pool import Pool

ENVIRONMENT = {"ALLOW_INSECURE_WEBHOOKS": "true", "UNDERSTUDY_OUTBOUND_ALLOW": "127.0.0.0/8"}
"""What the server must be told for the house to be made."""

HOUSE, MIRAS = "velvet-lighthouse", "crimson-notebook"

QUERIES = {
    "searchMemory": "q=recipe",
    "searchMessages": "q=recipe",
    "sessionEvents": "follow=false",
    "streamAudit": "follow=false",
}
"""What must stand in the query, by operation."""

BODIES: dict[str, dict[str, Any]] = {
    "mcp": {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    "replaceAgent": {"model": {"provider": "builtin", "modelId": "rehearsal"}, "systemPromptTemplate": "Mine."},
}
"""Bodies that fit what is there, for operations whose example does not."""

FOR_USERS = {Auth.JWT, Auth.KEY_OR_JWT, Auth.WORKSPACE}
"""What asks for somebody who is signed in."""

TELLS_THE_TIME = {"agentUsage", "costBreakdown"}
"""Operations whose answer is another each time."""


@attrs.frozen
class Route:
    """One operation, as the application knows it."""

    method: str
    rule: str
    operation: Operation

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"<(?:[^:<>]*:)?([^<>]+)>", self.rule)

    @property
    def noun(self) -> str:
        return self.rule.strip("/").partition("/")[0]

    def missing(self, things: Mapping[str, str]) -> list[str]:
        """The parameters of which nobody says what they are."""
        names = self.parameters if self.operation.auth is not Auth.KEY else ()
        return [f"{self.noun}.{name}" for name in names if f"{self.noun}.{name}" not in things]

    def path(self, things: Mapping[str, str]) -> str:
        """The path about those things."""

        def fill(found: re.Match[str]) -> str:
            # Who holds the internal key is no tenant, and whoever does not is refused whatever the thing is.
            return "x" if self.operation.auth is Auth.KEY else things[f"{self.noun}.{found[1]}"]

        path = re.sub(r"<(?:[^:<>]*:)?([^<>]+)>", fill, self.rule)
        asked = QUERIES.get(self.operation.id)
        return f"{path}?{asked}" if asked else path

    def __str__(self) -> str:
        return f"{self.method} {self.rule}"


@functools.cache
def routes() -> tuple[Route, ...]:
    """Every operation of the application, the harmless ones first."""
    app = create_app()
    found = []
    for rule in app.url_map.iter_rules():
        described = operation_of(app.view_functions[rule.endpoint])
        assert described is not None or rule.websocket, f"{rule.rule} says nothing of itself"
        if described is not None:
            methods = set(rule.methods or ()) - {"HEAD", "OPTIONS"}
            found += [Route(method, rule.rule, described) for method in methods]
    return tuple(sorted(found, key=lambda route: (route.method != "GET", route.method, route.rule)))


@attrs.frozen
class Person:
    """Somebody who asks, with these headers."""

    http: httpx.AsyncClient
    name: str
    headers: dict[str, str]

    async def ask(self, route: Route, things: Mapping[str, str], body: Any = None) -> httpx.Response:
        if body is None:
            body = BODIES.get(route.operation.id, route.operation.example)
        content = {} if body is None or route.method == "GET" else {"json": body}
        return await self.http.request(route.method, route.path(things), headers=self.headers, **content)


async def asked(http: httpx.AsyncClient, who: dict[str, str], method: str, path: str, body: Any = None) -> Any:
    answer = await http.request(method, path, headers=who, json=body)
    assert answer.status_code < 300, (path, answer.text)
    return answer.json()


@attrs.frozen
class Stage:
    """The server, Mira's things in it, and its database."""

    http: httpx.AsyncClient
    pool: Pool
    mira: dict[str, str]
    house: str
    annex: str
    things: dict[str, str]

    def acting_in(self, workspace_id: str, client: Client, name: str) -> Person:
        return Person(self.http, name, client.headers | {"X-Workspace-Id": workspace_id})

    async def join(self, workspace_id: str, client: Client, role: str) -> None:
        body = {"uid": client.uid, "role": role}
        await asked(self.http, self.mira, "POST", f"/workspaces/{workspace_id}/members", body)

    async def fingerprint(self) -> dict[str, tuple[int, int]]:
        """Of every table, how many rows it has and which transaction was the last to write one."""
        async with self.pool.connection() as connection:
            tables = await connection.execute(
                "SELECT relname FROM pg_stat_user_tables"
                " WHERE relname NOT IN ('schema_migrations', 'job_schedule', 'nodes')"
            )
            names = sorted(name for (name,) in await tables.fetchall())
            parts = [f"SELECT '{name}', count(*), coalesce(max(xmin::text::bigint), 0) FROM {name}" for name in names]
            found = await connection.execute(" UNION ALL ".join(parts).encode())
            return {name: (count, last) for name, count, last in await found.fetchall()}

    async def owner_s_view(self) -> dict[str, str]:
        """What Mira reads at every address that is hers to read."""
        owner, seen = Person(self.http, "Mira", self.mira), {}
        for route in routes():
            if route.method == "GET" and route.operation.auth in FOR_USERS:
                answer = await owner.ask(route, self.things)
                seen[route.operation.id] = f"{answer.status_code} {answer.text}"
        return {what: text for what, text in seen.items() if what not in TELLS_THE_TIME}


@asynccontextmanager
async def staged(tmp_path: Path, dsn: str) -> AsyncIterator[Stage]:
    """A server with Mira's house on it."""
    pool = Pool(dsn, min_size=0, max_size=2)
    async with (
        running_node(tmp_path, database_url=dsn, environment=ENVIRONMENT) as node,
        connect(node.url) as http,
    ):
        await pool.open()
        try:
            yield await move_in(http, pool)
        finally:
            await pool.close()


async def move_in(http: httpx.AsyncClient, pool: Pool) -> Stage:
    """Mira, new, with her house and her annex. Once in a database."""
    mira = (await register(http)).headers
    house, annex = [
        (await asked(http, mira, "POST", "/workspaces", {"name": name, "plan": "team"}))["id"]
        for name in (f"{HOUSE} of Mira", "Annex")
    ]
    mira |= {"X-Workspace-Id": house}
    return Stage(http, pool, mira, house, annex, await furnish(http, mira, pool, house))


async def furnish(http: httpx.AsyncClient, mira: dict[str, str], pool: Pool, house: str) -> dict[str, str]:
    """Make one of each thing; what its path parameters are then."""

    async def made(path: str, body: Any, method: str = "POST") -> Any:
        return await asked(http, mira, method, path, body)

    agent = {
        "id": "helper",
        "description": HOUSE,
        "model": {"provider": "builtin", "modelId": "rehearsal"},
        "systemPromptTemplate": f"Help in the {HOUSE}.",
    }
    await made("/agents", agent)
    chat = await made("/agent/chat", {"message": f"recipe: my {MIRAS} in the {HOUSE}", "agentId": "helper"})
    await made("/agent/memory/profile", {"likes": f"{MIRAS} {HOUSE}"}, "PUT")
    await made("/agent/memory/notes", {"note": f"recipe: the {MIRAS} of the {HOUSE}"})
    uid = (await asked(http, mira, "GET", f"/workspaces/{house}"))["ownerId"]
    job = await made("/jobs", {"type": "noop", "payload": {}, "dedupeKey": f"{HOUSE}"})
    webhook = {"url": "http://127.0.0.1:9/in", "events": ["job.failed"], "description": f"{MIRAS} {HOUSE}"}
    feed = {"name": HOUSE, "type": "rss", "url": "http://127.0.0.1:9/in", "intervalMinutes": 5, "enabled": False}
    profile = await made("/memory-profiles", {"name": HOUSE})
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO approvals (id, workspace_id, uid, agent_id, session_id, turn_id, tool_call_id, tool,"
            " arguments, requested_at, expires_at) VALUES"
            " ('apr_1', %s, %s, 'helper', %s, 'trn_1', 'tc_1', 'shell', %s, now(), now() + interval '1 day')",
            (house, uid, chat["sessionId"], json.dumps({"what": HOUSE})),
        )
        await connection.execute(
            "INSERT INTO memory_entries (id, workspace_id, uid, tier, day, category, content, weight, created_at,"
            " embedder, embedding)"
            " VALUES ('mem_day', %s, %s, 'daily', current_date, 'decision', %s, 1, now(), '', '{}')",
            (house, uid, f"a {MIRAS} in the {HOUSE}"),
        )
        (day,) = await (await connection.execute("SELECT current_date::text")).fetchone() or ("",)
    (trace, *_) = (await asked(http, mira, "GET", "/traces"))["traces"]
    return {
        "agents.id": "helper",
        "agents.version": "1",
        "sessions.id": chat["sessionId"],
        "sessions.session_id": chat["sessionId"],
        "traces.id": trace["id"],
        "jobs.id": job["id"],
        "webhooks.id": (await made("/webhooks", webhook))["id"],
        "webhooks.deliveryId": "dlv_1",
        "heartbeat.id": (await made("/heartbeat", feed))["id"],
        "memory-profiles.id": profile["id"],
        "memory-profiles.agentId": "helper",
        "approvals.id": "apr_1",
        "workspaces.id": house,
        "workspaces.uid": uid,
        "agent.date": day,
        "agent.entryIndex": "mem_day",
        "agent.id": "mem_day",
        "agent.index": "0",
        "skills.id": "web_search",
    }
