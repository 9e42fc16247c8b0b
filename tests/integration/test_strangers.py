"""Every route there is, asked by those whom it is not for.

Mira has a house (a team's workspace) with one of each thing in it, and an annex. The routes are read from the
application itself: a new one is tried without being named here, and one of which this does not know how to make the
thing that it is about fails the test, saying so.

Whoever is refused must not have changed a row, and nobody may be shown a word of what is not theirs: everything in the
house holds the word `HOUSE`, and what is Mira's own within it also `MIRAS`.
"""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from tests.support.client import Client, connect, register
from tests.support.node import running_node
from understudy.http.app import create_app
from understudy.http.operation import Auth, Operation, operation_of
from understudy.storage.pool import Pool

HOUSE, MIRAS = "velvet-lighthouse", "crimson-notebook"

PUBLIC = {
    "agentHealth",
    "getSkill",
    "health",
    "listSkills",
    "livez",
    "login",
    "logout",
    "metrics",
    "openapiJson",
    "openapiYaml",
    "readiness",
    "refresh",
    "register",
    "skillMetrics",
}
"""Whom these are for is everybody: a new one is put here by whoever means that."""

ONE_S_OWN = {
    "clearToolCache",
    "createWebhook",
    "createWorkspace",
    "setUp",
}
"""What every user may do, since it makes or changes only what is theirs: with `FOREIGN` bodies it is refused, too."""

FOREIGN: dict[str, Callable[["Stage"], Any]] = {
    "createWebhook": lambda stage: {
        "url": "http://127.0.0.1:9/in",
        "events": ["job.failed"],
        "workspaceId": stage.house,
    },
}
"""Bodies that name what is not the caller's, for routes that are otherwise open to everybody."""

NAMES_NOTHING = {"getDailyMemory"}
"""Routes whose parameter is no thing of anybody's: a day is everybody's."""

QUERIES = {"searchMemory": "q=recipe", "searchMessages": "q=recipe", "sessionEvents": "follow=false"}
"""What must stand in the query, by operation."""

BODIES = {"replaceAgent": {"model": {"provider": "builtin", "modelId": "rehearsal"}, "systemPromptTemplate": "Mine."}}
"""Bodies that fit what is there, for operations whose example does not."""

TELLS_THE_TIME = {"costBreakdown"}
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


def routes() -> Iterator[Route]:
    """Every operation of the application, the harmless ones first."""
    app = create_app()
    found = []
    for rule in app.url_map.iter_rules():
        described = operation_of(app.view_functions[rule.endpoint])
        assert described is not None or rule.websocket, f"{rule.rule} says nothing of itself"
        if described is not None:
            methods = set(rule.methods or ()) - {"HEAD", "OPTIONS"}
            found += [Route(method, rule.rule, described) for method in methods]
    yield from sorted(found, key=lambda route: (route.method != "GET", route.method, route.rule))


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

    async def fingerprint(self) -> dict[str, tuple[int, int]]:
        """Of every table, how many rows it has and which transaction was the last to write one."""
        async with self.pool.connection() as connection:
            tables = await connection.execute(
                "SELECT relname FROM pg_stat_user_tables WHERE relname NOT IN ('schema_migrations', 'job_schedule')"
            )
            names = sorted(name for (name,) in await tables.fetchall())
            parts = [f"SELECT '{name}', count(*), coalesce(max(xmin::text::bigint), 0) FROM {name}" for name in names]
            found = await connection.execute(" UNION ALL ".join(parts).encode())
            return {name: (count, last) for name, count, last in await found.fetchall()}

    async def owner_s_view(self) -> dict[str, str]:
        """What Mira reads at every address that is hers to read."""
        owner, seen = Person(self.http, "Mira", self.mira), {}
        for route in routes():
            if route.method == "GET" and route.operation.auth in {Auth.JWT, Auth.WORKSPACE}:
                answer = await owner.ask(route, self.things)
                seen[route.operation.id] = f"{answer.status_code} {answer.text}"
        return {what: text for what, text in seen.items() if what not in TELLS_THE_TIME}


@asynccontextmanager
async def staged(tmp_path: Path, dsn: str) -> AsyncIterator[Stage]:
    """A server with Mira's house on it."""
    environment = {"ALLOW_INSECURE_WEBHOOKS": "true", "UNDERSTUDY_OUTBOUND_ALLOW": "127.0.0.0/8"}
    pool = Pool(dsn, min_size=0, max_size=2)
    async with (
        running_node(tmp_path, database_url=dsn, environment=environment) as node,
        connect(node.url) as http,
    ):
        await pool.open()
        try:
            mira = (await register(http)).headers
            house, annex = [
                (await asked(http, mira, "POST", "/workspaces", {"name": name, "plan": "team"}))["id"]
                for name in (f"{HOUSE} of Mira", "Annex")
            ]
            mira |= {"X-Workspace-Id": house}
            things = await furnish(http, mira, pool, house)
            yield Stage(http, pool, mira, house, annex, things)
        finally:
            await pool.close()


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
        "memory-profiles.id": profile["id"],
        "memory-profiles.agentId": "helper",
        "approvals.id": "apr_1",
        "workspaces.id": house,
        "workspaces.uid": uid,
        "agent.date": day,
        "agent.entryIndex": "mem_day",
        "agent.index": "0",
        "skills.id": "web_search",
    }


@attrs.define
class Verdict:
    """What was wrong, all of it."""

    wrong: list[str] = attrs.field(factory=list)

    def see(
        self, person: Person, route: Route, answer: httpx.Response, allowed: Iterable[int], *, hidden: str = HOUSE
    ) -> None:
        """Note an answer with another status, and one that shows what is hidden."""
        if answer.status_code not in allowed:
            self.wrong.append(f"{person.name}: {route} answered {answer.status_code} {answer.text[:200]}")
        if hidden in answer.text:
            self.wrong.append(f"{person.name}: {route} shows {hidden!r}")


REFUSED = (403, 404)
READ = range(200, 300)


async def ask_as_nobody(stage: Stage, verdict: Verdict) -> None:
    """Without a token everything but what is public is 401."""
    nobody = Person(stage.http, "nobody", {"X-Workspace-Id": stage.house})
    for route in routes():
        if route.operation.id not in PUBLIC:
            verdict.see(nobody, route, await nobody.ask(route, stage.things), (401,))
        elif route.method == "GET":
            verdict.see(nobody, route, await nobody.ask(route, stage.things), range(200, 600))


async def ask_in_the_house(stage: Stage, person: Person, verdict: Verdict) -> None:
    """Somebody who is no member of the house, and names it."""
    for route in routes():
        if route.operation.auth is Auth.WORKSPACE:
            verdict.see(person, route, await person.ask(route, stage.things), (403,))
    for route in routes():
        if route.operation.id in FOREIGN:
            body = FOREIGN[route.operation.id](stage)
            verdict.see(person, route, await person.ask(route, stage.things, body), REFUSED)


async def ask_from_elsewhere(stage: Stage, person: Person, verdict: Verdict) -> None:
    """Somebody who is in a workspace of their own, and knows the ids of what is in the house."""
    for route in routes():
        match route.operation.auth:
            case Auth.KEY:
                verdict.see(person, route, await person.ask(route, stage.things), (401,))
            case Auth.JWT | Auth.WORKSPACE if route.parameters and route.operation.id not in NAMES_NOTHING:
                verdict.see(person, route, await person.ask(route, stage.things), REFUSED)
            case Auth.JWT | Auth.WORKSPACE if route.method == "GET":
                verdict.see(person, route, await person.ask(route, stage.things), READ)
            case Auth.JWT if route.operation.id not in ONE_S_OWN:
                verdict.wrong.append(f"{route}: is it one's own, or what keeps strangers from it?")
            case _:
                pass


async def ask_as_viewer(stage: Stage, person: Person, verdict: Verdict) -> None:
    """A member who may read what the house shares, nothing of Mira's own, and change nothing."""
    for route in routes():
        about_the_house = route.operation.auth is Auth.WORKSPACE or route.rule.startswith("/workspaces/<")
        if route.operation.auth in {Auth.JWT, Auth.WORKSPACE} and route.operation.id not in ONE_S_OWN:
            allowed = (*READ, *REFUSED) if route.method == "GET" and about_the_house else REFUSED
            if route.method == "GET" and not route.parameters:
                allowed = tuple(READ)
            verdict.see(person, route, await person.ask(route, stage.things), allowed, hidden=MIRAS)


async def test_every_route_refuses_those_whom_it_is_not_for_and_nothing_changes_or_shows(
    tmp_path: Path, pg_dsn: str
) -> None:
    with trio.fail_after(90):
        async with staged(tmp_path, pg_dsn) as stage:
            unknown = [f"{each}: {name}" for each in routes() for name in each.missing(stage.things)]
            assert not unknown, f"say in `furnish` how to make what these are about: {unknown}"
            public = {each.operation.id for each in routes() if each.operation.auth is Auth.PUBLIC}
            assert public == PUBLIC

            stranger, neighbour, viewer = [await register(stage.http) for _ in range(3)]
            home = (await asked(stage.http, stranger.headers, "GET", "/workspaces"))["workspaces"][0]["id"]
            for workspace_id, who, role in ((stage.annex, neighbour, "member"), (stage.house, viewer, "viewer")):
                body = {"uid": who.uid, "role": role}
                await asked(stage.http, stage.mira, "POST", f"/workspaces/{workspace_id}/members", body)

            verdict, view, rows = Verdict(), await stage.owner_s_view(), await stage.fingerprint()
            for what, seen in view.items():
                assert seen.startswith("200 "), f"{what} must be there to be refused to others: {seen}"
            for what in QUERIES:
                assert MIRAS in view[what], f"{what} finds nothing that could show"

            async def unchanged(whom: str) -> None:
                for table, now in (await stage.fingerprint()).items():
                    if now != rows[table]:
                        verdict.wrong.append(f"{whom} changed rows of {table}: {rows[table]} became {now}")

            await ask_as_nobody(stage, verdict)
            await unchanged("nobody")
            await ask_in_the_house(stage, stage.acting_in(stage.house, stranger, "a stranger in the house"), verdict)
            await ask_from_elsewhere(stage, stage.acting_in(home, stranger, "a stranger"), verdict)
            await unchanged("the stranger")
            await ask_in_the_house(stage, stage.acting_in(stage.house, neighbour, "a neighbour in the house"), verdict)
            await ask_from_elsewhere(stage, stage.acting_in(stage.annex, neighbour, "a neighbour"), verdict)
            await unchanged("the neighbour")
            await ask_as_viewer(stage, stage.acting_in(stage.house, viewer, "a viewer"), verdict)
            await unchanged("the viewer")

            now = await stage.owner_s_view()
            verdict.wrong += [f"{each} is not what it was for Mira" for each in view if now[each] != view[each]]
            assert not verdict.wrong, "\n".join(verdict.wrong)
