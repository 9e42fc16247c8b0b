"""A request with a key whose actor is killed between its commit and its answer is done once, and answered."""

import ipaddress
from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs
import pytest
import trio

from tests.support.platform import Caller, Platform, serving_platform
from tests.support.receiver import receiving
from understudy.actors.clock import utc_now
from understudy.actors.heartbeats.services import HeartbeatServices
from understudy.actors.heartbeats.tree import heartbeats_spec
from understudy.actors.idempotency.messages import IDEMPOTENCY
from understudy.actors.jobs.noop import NOOP
from understudy.actors.jobs.queue import queue_spec
from understudy.actors.onboarding.actor import onboarding_spec
from understudy.actors.outbound.guarded import GuardedClient
from understudy.actors.webhooks.poster import GuardedPoster
from understudy.actors.webhooks.tree import webhooks_spec
from understudy.actors.webhooks.webhook import Delivering
from understudy.runtime import ActorSystem, ChildSpec, SupervisorSpec, current_context
from understudy.storage.pool import Pool
from understudy.storage.repositories import Repositories

MODEL = {"provider": "builtin", "modelId": "rehearsal"}
AGENT = {"id": "helper", "model": MODEL, "systemPromptTemplate": "Help."}
PAGE = "https://somewhere.example.org/in"


class Blade:
    """Kills the actor that has just committed, once for each time it is drawn, before it learns that it has."""

    def __init__(self) -> None:
        self.method: str | None = None
        self.system: ActorSystem | None = None

    def draw(self, method: str) -> None:
        self.method = method

    async def strike(self, method: str) -> None:
        if method != self.method:
            return
        self.method = None
        address = current_context().sender  # in work: the actor itself
        assert address is not None
        assert self.system is not None
        trio.lowlevel.spawn_system_task(self.system.kill, address)
        await trio.sleep_forever()

    def over(self, name: str, real: Any) -> Any:
        return Struck(self, name, real)


class Struck:
    """A repository that the blade hangs over."""

    def __init__(self, blade: Blade, name: str, real: Any) -> None:
        self._blade, self._name, self._real = blade, name, real

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._real, method)

        async def call(*args: Any, **named: Any) -> Any:
            answer = await found(*args, **named)
            await self._blade.strike(f"{self._name}.{method}")
            return answer

        return call


@pytest.fixture
def blade() -> Blade:
    return Blade()


async def resolve(host: str, port: int) -> Sequence[str]:
    """Everything but this machine is somewhere on the Internet."""
    del port
    return ("127.0.0.1" if host == "127.0.0.1" else "93.184.215.14",)


@pytest.fixture
async def platform(pool: Pool, blade: Blade) -> AsyncIterator[Platform]:
    def around(store: Repositories) -> Repositories:
        under = ("workspaces", "grants", "agents", "memories", "memory_profiles", "heartbeats", "webhooks", "jobs")
        return attrs.evolve(
            store,
            **{name: blade.over(name, getattr(store, name)) for name in (*under, "onboarding", "idempotency")},
        )

    async with serving_platform(pool, around=around) as platform:
        store, system = platform.store, platform.system
        blade.system = system
        web = GuardedClient([ipaddress.ip_network("127.0.0.1/32")], resolver=resolve)
        await system.spawn(
            webhooks_spec(store.webhooks, Delivering(store.deliveries, GuardedPoster(web, insecure=True)))
        )
        await system.spawn(heartbeats_spec(HeartbeatServices(store.heartbeats, store.heartbeat_runs, web, utc_now)))
        children: tuple[ChildSpec, ...] = (queue_spec(store.jobs, {NOOP.name: NOOP}),)
        await system.spawn(SupervisorSpec("jobs", children=children))
        await system.spawn(onboarding_spec("builtin/rehearsal", store.onboarding))
        yield platform


@pytest.mark.parametrize(
    ("path", "body", "method", "status", "listed"),
    [
        ("/webhooks", {"url": PAGE, "events": ["*"]}, "webhooks.create", 201, ("/webhooks", "webhooks")),
        (
            "/heartbeat",
            {"name": "News", "type": "rss", "url": PAGE, "intervalMinutes": 15, "enabled": False},
            "heartbeats.create",
            201,
            ("/heartbeat", "heartbeats"),
        ),
        ("/jobs", {"type": "noop"}, "jobs.add", 202, ("/jobs", "jobs")),
        ("/agent/memory/notes", {"content": "likes tea"}, "memories.add", 201, None),
        ("/agents", AGENT, "agents.create", 201, None),
        ("/memory-profiles", {"name": "lean"}, "memory_profiles.create", 201, ("/memory-profiles", "profiles")),
        ("/onboarding/setup", {"workspaceName": "Mine"}, "onboarding.onboard", 201, None),
        ("/workspaces", {"name": "Second", "plan": "team"}, "workspaces.create", 201, None),
    ],
)
async def test_what_a_killed_actor_had_made_is_the_answer_of_the_next_attempt(
    platform: Platform,
    blade: Blade,
    path: str,
    body: dict[str, Any],
    method: str,
    status: int,
    listed: tuple[str, str] | None,
) -> None:
    mira = await platform.user()
    blade.draw(method)
    killed = await mira.call("POST", path, body, X_Idempotency_Key="k1")
    assert (killed.status_code, blade.method) == (503, None), killed.text
    lines = await audit_lines(platform, mira)
    answer = await mira.call("POST", path, body, X_Idempotency_Key="k1")
    assert answer.status_code == status, answer.text
    again = await mira.call("POST", path, body, X_Idempotency_Key="k1")
    assert (again.status_code, again.json()) == (status, answer.json())
    assert await audit_lines(platform, mira) == lines, "it was done again"
    if listed is not None:
        assert len((await mira.get(listed[0])).json()[listed[1]]) == 1
    if path == "/webhooks":
        shown = (await mira.get(f"/webhooks/{answer.json()['id']}")).json()
        assert shown.items() <= answer.json().items()
    if path in {"/agents", "/jobs", "/webhooks"}:
        other = await mira.call(
            "POST", path, body | ({"id": "other"} if path == "/agents" else {}), X_Idempotency_Key="2"
        )
        assert other.status_code == status
        assert other.json()["id"] != answer.json()["id"]


async def test_a_test_event_whose_result_was_lost_is_sent_once(platform: Platform, blade: Blade) -> None:
    mira = await platform.user()
    async with receiving() as receiver:
        made = (await mira.call("POST", "/webhooks", {"url": receiver.url, "events": ["*"]})).json()
        path = f"/webhooks/{made['id']}/test"
        blade.draw("webhooks.record")
        assert (await mira.call("POST", path, X_Idempotency_Key="k1")).status_code == 503
        answer = await mira.call("POST", path, X_Idempotency_Key="k1")
        assert (answer.status_code, answer.json()["delivered"], answer.json()["status"]) == (200, True, 200)
        assert len(receiver.got) == 1
        another = await mira.call("POST", path, X_Idempotency_Key="k2")
        assert (another.status_code, len(receiver.got)) == (200, 2)
        first, second = (each.headers["webhook-id"] for each in receiver.got)
        assert first != second
        history = (await mira.get(f"/webhooks/{made['id']}/deliveries")).json()["deliveries"]
        assert sorted(each["eventId"] for each in history) == sorted([first, second])


async def audit_lines(platform: Platform, caller: Caller) -> int:
    async with platform.pool.connection() as connection:
        found = await connection.execute("SELECT count(*) FROM audit_log WHERE uid = %s", (caller.uid,))
        ((count,),) = await found.fetchall()
    return int(count)


async def test_a_member_and_a_grant_are_given_once(platform: Platform, blade: Blade) -> None:
    mira, paul = await platform.user(), await platform.user()
    house = (await mira.call("POST", "/workspaces", {"name": "House", "plan": "team"})).json()["id"]
    mira = attrs.evolve(mira, workspace_id=house)
    assert (await mira.call("POST", "/agents", AGENT)).status_code == 201
    for path, body, method in (
        (f"/workspaces/{house}/members", {"uid": paul.uid, "role": "member"}, "workspaces.set_member"),
        (
            f"/workspaces/{house}/grants",
            {"receivingWorkspaceId": paul.workspace_id, "agentId": "helper"},
            "grants.put",
        ),
    ):
        blade.draw(method)
        assert (await mira.call("POST", path, body, X_Idempotency_Key="k1")).status_code == 503
        lines = await audit_lines(platform, mira)
        assert (await mira.call("POST", path, body, X_Idempotency_Key="k1")).status_code == 201
        assert await audit_lines(platform, mira) == lines


async def test_a_key_is_claimed_though_who_claims_it_is_killed_meanwhile(platform: Platform, blade: Blade) -> None:
    mira = await platform.user()
    blade.draw("idempotency.begin")
    with trio.fail_after(12):  # who waits for a claim that nobody holds waits 25 s
        answer = await mira.call("POST", "/agents", AGENT, X_Idempotency_Key="k1")
    assert (answer.status_code, blade.method) == (201, None)


async def test_a_key_is_free_again_when_its_request_went_away_before_it_began(platform: Platform, blade: Blade) -> None:
    mira = await platform.user()
    await platform.system.suspend(IDEMPOTENCY)
    with trio.move_on_after(0.1):
        await mira.call("POST", "/agents", AGENT, X_Idempotency_Key="k1")
    await platform.system.resume(IDEMPOTENCY)
    with trio.fail_after(12):  # who waits for a claim that nobody holds waits 25 s
        answer = await mira.call("POST", "/agents", AGENT, X_Idempotency_Key="k1")
    assert answer.status_code == 201


async def test_a_refused_request_may_be_mended_under_the_same_key(platform: Platform) -> None:
    mira = await platform.user()
    unknown = {**AGENT, "model": {"provider": "nobody", "modelId": "x"}}
    assert (await mira.call("POST", "/agents", unknown, X_Idempotency_Key="k1")).status_code == 400
    assert (await mira.call("POST", "/agents", AGENT, X_Idempotency_Key="k1")).status_code == 201
