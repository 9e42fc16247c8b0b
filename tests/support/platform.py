"""The platform's routes over the real actors and a real database, in this process: accounts, workspaces, agents."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import httpx

from tests.support.identity import FAST, Settings
from tests.support.node import some_email
from tests.support.server import Running, serving
from tests.support.storage import START
from tests.support.writing import DirectWriter
from understudy.actors.agents.actor import agents_spec
from understudy.actors.clock import utc_now
from understudy.actors.costs.actor import costs_spec
from understudy.actors.idempotency.actor import idempotency_spec
from understudy.actors.identity.actor import identity_spec
from understudy.actors.identity.passwords import Passwords
from understudy.actors.inference.messages import ToolSpec
from understudy.actors.limits.actor import limits_spec
from understudy.actors.memory.actor import memory_spec
from understudy.actors.memory_profiles.actor import memory_profiles_spec
from understudy.actors.skills.folders import builtin_skills
from understudy.actors.skills.library import SkillLibrary
from understudy.actors.skills.loader import skill_loader_spec
from understudy.actors.skills.usage import skill_usage_spec
from understudy.actors.tools.cache import ToolCache
from understudy.actors.tools.host import tool_host_spec
from understudy.actors.traces.actor import traces_spec
from understudy.actors.workspaces.actor import workspaces_spec
from understudy.http.app import create_app
from understudy.http.settings import HttpSettings
from understudy.runtime import ActorSystem, SupervisorSpec
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.records import WorkspaceRole
from understudy.storage.repositories import Repositories

TOOLS = tuple(ToolSpec(name, f"What {name} does", {}) for name in ("clock", "files", "web"))

NOWHERE = Path("/dev/null/skills")
"""A folder that cannot be."""


def problem(response: httpx.Response) -> tuple[int, str]:
    """The error's status and code, of an answer that has the shape of one."""
    body = response.json()
    assert set(body) <= {"error", "code", "requestId", "details"}
    assert body["error"]
    assert response.headers["cache-control"] == "no-store"
    return response.status_code, body["code"]


@attrs.frozen
class Caller:
    """Somebody signed in, acting in one workspace."""

    client: httpx.AsyncClient
    uid: str
    token: str
    workspace_id: str

    @property
    def headers(self) -> dict[str, str]:
        """Who they are, and where."""
        return {"Authorization": f"Bearer {self.token}", "X-Workspace-Id": self.workspace_id}

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One request; a header's name is written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = {} if body is None else {"json": body}
        return await self.client.request(method, path, headers=self.headers | named, **content)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """A GET."""
        return await self.call("GET", path, **headers)


@attrs.define
class Platform:
    """The running platform, and ways to people it."""

    running: Running
    system: ActorSystem
    client: httpx.AsyncClient
    pool: Pool
    store: Repositories
    cache: ToolCache

    async def user(self) -> Caller:
        """A new user, who owns a workspace."""
        asked = {"email": some_email(), "password": "correct horse"}
        answer = (await self.client.post("/auth/register", json=asked)).json()
        return Caller(self.client, answer["user"]["id"], answer["accessToken"], answer["workspaceId"])

    async def member(self, of: Caller, role: WorkspaceRole, who: Caller | None = None) -> Caller:
        """Somebody (a new user unless said) acting in somebody else's workspace, in this role."""
        caller = attrs.evolve(who or await self.user(), workspace_id=of.workspace_id)
        async with self.pool.connection() as connection:
            await connection.execute(
                "INSERT INTO workspace_members (workspace_id, uid, role, joined_at) VALUES (%s, %s, %s, %s)",
                (of.workspace_id, caller.uid, role.value, START),
            )
        return caller


@asynccontextmanager
async def serving_platform(
    pool: Pool,
    *,
    user_rate_limit_max: int = 0,
    skills_folder: Path = NOWHERE,
    around: Callable[[Repositories], Repositories] = lambda store: store,
    now: Callable[[], datetime] = utc_now,
    **settings: Any,
) -> AsyncIterator[Platform]:
    """Serve the application on a socket, with the actors that need neither sessions nor models. The body has 60 s.

    What *around* makes of the repositories is what the actors are given; what was spent is reckoned by *now*;
    *settings* are those of `HttpSettings`.
    """
    store = around(Repositories.on(pool))
    writer = DirectWriter(Journal(pool))
    builtin, cache = builtin_skills(), ToolCache()
    library = SkillLibrary(builtin.values())
    async with ActorSystem("platform tests") as system:
        for spec in (
            identity_spec(Settings(), store, writer, passwords=lambda: Passwords(hasher=FAST)),
            workspaces_spec(store),
            limits_spec(rate_limit_max=0, user_rate_limit_max=user_rate_limit_max),
            idempotency_spec(store.idempotency),
            agents_spec("builtin/rehearsal", store, skills=library.tools, texts=library.texts),
            memory_spec(store.memories),
            memory_profiles_spec(store.memory_profiles),
        ):
            await system.spawn(spec)
        await system.spawn(costs_spec(store.costs, now))
        await system.spawn(traces_spec(store.traces))
        tools = (
            tool_host_spec(lambda: TOOLS, cache),
            skill_loader_spec(library, builtin, skills_folder),
            skill_usage_spec(library, store.skill_usage, fresh=0.0),
        )
        await system.spawn(SupervisorSpec("tools", children=tools))
        async with (
            serving(create_app(system, settings=HttpSettings(**settings))) as running,
            httpx.AsyncClient(base_url=running.url, timeout=15) as client,
        ):
            yield Platform(running, system, client, pool, store, cache)
