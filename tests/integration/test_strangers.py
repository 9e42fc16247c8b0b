"""Every route there is, asked by those whom it is not for.

The routes are read from the application itself: a new one is tried without being named here, and one of which
`tests.support.house` does not know how to make the thing that it is about fails the test, saying so.

Whoever is refused must not have changed a row, and nobody may be shown a word of what is not theirs.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from tests.support.client import register
from tests.support.house import FOR_USERS, HOUSE, MIRAS, Person, Route, Stage, asked, routes, staged
from understudy.http.operation import Auth

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

FOREIGN: dict[str, Callable[[Stage], Any]] = {
    "createWebhook": lambda stage: {
        "url": "http://127.0.0.1:9/in",
        "events": ["job.failed"],
        "workspaceId": stage.house,
    },
}
"""Bodies that name what is not the caller's, for routes that are otherwise open to everybody."""

NAMES_NOTHING = {"getDailyMemory"}
"""Routes whose parameter is no thing of anybody's: a day is everybody's."""


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
READ = (200, 403)
"""What may be answered where there is no thing of others in the question: one's own, or that it takes another role."""


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
        auth = route.operation.auth
        if auth is Auth.KEY:
            verdict.see(person, route, await person.ask(route, stage.things), (401,))
        elif auth in FOR_USERS and route.parameters and route.operation.id not in NAMES_NOTHING:
            verdict.see(person, route, await person.ask(route, stage.things), REFUSED)
        elif auth in FOR_USERS and route.method == "GET":
            verdict.see(person, route, await person.ask(route, stage.things), READ)
        elif auth in FOR_USERS and auth is not Auth.WORKSPACE and route.operation.id not in ONE_S_OWN:
            verdict.wrong.append(f"{route}: is it one's own, or what keeps strangers from it?")


async def ask_as_viewer(stage: Stage, person: Person, verdict: Verdict) -> None:
    """A member who may read what the house shares, nothing of Mira's own, and change nothing."""
    for route in routes():
        about_the_house = route.operation.auth is Auth.WORKSPACE or route.rule.startswith("/workspaces/<")
        if route.operation.auth in FOR_USERS and route.operation.id not in ONE_S_OWN:
            reads = route.method == "GET" and (about_the_house or not route.parameters)
            allowed = (*READ, *REFUSED) if reads else REFUSED
            verdict.see(person, route, await person.ask(route, stage.things), allowed, hidden=MIRAS)


async def test_every_route_refuses_those_whom_it_is_not_for_and_nothing_changes_or_shows(
    tmp_path: Path, pg_dsn: str
) -> None:
    with trio.fail_after(180):
        async with staged(tmp_path, pg_dsn) as stage:
            unknown = [f"{each}: {name}" for each in routes() for name in each.missing(stage.things)]
            assert not unknown, f"say in `furnish` how to make what these are about: {unknown}"
            public = {each.operation.id for each in routes() if each.operation.auth is Auth.PUBLIC}
            assert public == PUBLIC

            stranger, neighbour, viewer, leaver = [await register(stage.http) for _ in range(4)]
            home = (await asked(stage.http, stranger.headers, "GET", "/workspaces"))["workspaces"][0]["id"]
            await stage.join(stage.annex, neighbour, "member")
            await stage.join(stage.house, viewer, "viewer")
            await stage.join(stage.house, leaver, "admin")
            left = stage.acting_in(stage.house, leaver, "somebody who was removed")
            await asked(stage.http, left.headers, "GET", "/agents")
            await stage.http.delete(f"/workspaces/{stage.house}/members/{leaver.uid}", headers=stage.mira)

            verdict, view, rows = Verdict(), await stage.owner_s_view(), await stage.fingerprint()
            for what, seen in view.items():
                assert seen.startswith("200 "), f"{what} must be there to be refused to others: {seen}"
            for what in ("searchMemory", "searchMessages"):
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
            await ask_in_the_house(stage, left, verdict)
            await unchanged("who was removed")
            await ask_as_viewer(stage, stage.acting_in(stage.house, viewer, "a viewer"), verdict)
            await unchanged("the viewer")

            now = await stage.owner_s_view()
            verdict.wrong += [f"{each} is not what it was for Mira" for each in view if now[each] != view[each]]
            assert not verdict.wrong, "\n".join(verdict.wrong)
