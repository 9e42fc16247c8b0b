"""Checks of what waits, and of what people set up: in a well node, and in one that is not."""

from datetime import UTC, datetime, timedelta

import attrs
import pytest
import trio

from understudy.actors.agents.actor import agents_spec
from understudy.actors.agents.document import AgentDocument, AgentModel, AgentTools, to_json
from understudy.actors.diagnostics import backlog, upkeep
from understudy.actors.diagnostics.check import Check, run_checks
from understudy.actors.diagnostics.messages import CheckResult, CheckStatus
from understudy.actors.errors import Unavailable
from understudy.actors.identity.messages import KeyView, ListKeys
from understudy.actors.memory.vectors import Vectors
from understudy.actors.skills.messages import ListSkills, SkillList, SkillProblem
from understudy.actors.tools.cache import ToolCache
from understudy.actors.tools.host import tool_host_spec
from understudy.runtime import Actor, ActorSystem, ChildSpec, SupervisorSpec, receive
from understudy.storage.memory import MemoryStore
from understudy.storage.oversight import Backlog
from understudy.storage.records import Agent, AgentVersion, AuditEntry, User, Workspace

PASS, WARN, FAIL = CheckStatus.PASS, CheckStatus.WARN, CheckStatus.FAIL
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


def now() -> datetime:
    return NOW


@attrs.frozen
class Counted:
    """A database in which so much waits."""

    found: Backlog = attrs.field(factory=Backlog)
    drifted: int = 0

    async def backlog(self, now: datetime) -> Backlog:
        await trio.lowlevel.checkpoint()
        return self.found

    async def guarded(self) -> bool:
        await trio.lowlevel.checkpoint()
        return not self.drifted

    async def drift(self) -> int:
        await trio.lowlevel.checkpoint()
        return self.drifted


async def found(check: Check, *actors: ChildSpec | SupervisorSpec) -> CheckResult:
    with trio.fail_after(30):
        async with ActorSystem("test") as system:
            for actor in actors:
                await system.spawn(actor)
            (result,) = await run_checks([check], system)
            return result


@pytest.mark.parametrize(
    ("behind", "status"),
    [
        (Backlog(), PASS),
        (Backlog(jobs_waiting=5, oldest_wait=30.0, jobs_failed=2), PASS),
        (Backlog(jobs_waiting=5, oldest_wait=61.0), WARN),
        (Backlog(jobs_waiting=5, oldest_wait=901.0), FAIL),
        (Backlog(jobs_stuck=1), FAIL),
    ],
)
async def test_jobs_that_wait_long_or_are_held_by_nobody_are_told(behind: Backlog, status: CheckStatus) -> None:
    assert (await found(backlog.jobs_flow(Counted(behind), now))).status is status


@pytest.mark.parametrize(
    ("total", "bad", "status"), [(0, 0, PASS), (5, 5, PASS), (100, 20, PASS), (100, 21, WARN), (100, 100, WARN)]
)
async def test_webhooks_that_often_fail_are_a_warning(total: int, bad: int, status: CheckStatus) -> None:
    behind = Backlog(deliveries=total, deliveries_failed=bad, webhooks_disabled=1)
    result = await found(backlog.webhooks_arrive(Counted(behind), now))
    assert result.status is status
    assert "1 webhooks are switched off" in result.message


async def test_late_heartbeats_old_grants_and_drifted_words_are_warnings() -> None:
    behind = Counted(Backlog(heartbeats_late=2, grants_expired=3, facts_waiting=5, agents_paused=6), drifted=4)
    for check, count in (
        (backlog.heartbeats_on_time(behind, now), "2"),
        (backlog.grants_purged(behind, now), "3"),
        (backlog.search_in_step(behind), "4"),
        (backlog.facts_told(behind, now), "5"),
        (backlog.agents_taking_turns(behind, now), "6"),
        (backlog.rows_guarded(behind), "n"),
    ):
        result = await found(check)
        assert (result.status, result.message[0]) == (WARN, count)
    for check in (
        backlog.heartbeats_on_time(Counted(), now),
        backlog.grants_purged(Counted(), now),
        backlog.search_in_step(Counted()),
        backlog.facts_told(Counted(), now),
        backlog.rows_guarded(Counted()),
    ):
        assert (await found(check)).status is PASS


@pytest.mark.parametrize(("hours", "status"), [(None, PASS), (26, PASS), (27, WARN)])
async def test_a_schedule_that_stands_still_is_a_warning(hours: int | None, status: CheckStatus) -> None:
    behind = Backlog(scheduled_at=None if hours is None else NOW - timedelta(hours=hours))
    assert (await found(backlog.schedule_runs(Counted(behind), now))).status is status


@attrs.frozen
class Place:
    base_url: str
    api_key: str | None = None


async def test_a_provider_is_connected_to_and_asked_nothing() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        place = Place(f"http://127.0.0.1:{port}/v1", "k")
        result = await found(upkeep.provider_reachable("house", place))
        assert (result.name, result.status) == ("inference.house", PASS)
        assert "with a key" in result.message
    result = await found(upkeep.provider_reachable("house", place))
    assert result.status is WARN


class Skills(Actor):
    """Knows of one folder that is no skill."""

    @receive
    def all(self, message: ListSkills) -> SkillList:
        return SkillList((), (SkillProblem("broken", "no frontmatter", kept=False),))


async def test_a_skill_that_cannot_be_read_is_named() -> None:
    result = await found(upkeep.skills_read(), SupervisorSpec("tools", children=(ChildSpec("skills", Skills),)))
    assert (result.status, result.message) == (WARN, "broken: no frontmatter")


class Keys(Actor):
    """Has two keys."""

    def __init__(self, days: int) -> None:
        self.days = days

    @receive
    def all(self, message: ListKeys) -> tuple[KeyView, ...]:
        until = NOW + timedelta(days=self.days)
        revoked = KeyView("key_2", "old", ("*",), "internal", expires_at=NOW, revoked_at=NOW)
        return (KeyView("key_1", "ci", ("*",), "internal", NOW, until), revoked)


@pytest.mark.parametrize(("days", "status"), [(15, PASS), (14, WARN), (-1, WARN)])
async def test_a_key_that_runs_out_soon_is_named(days: int, status: CheckStatus) -> None:
    result = await found(upkeep.keys_current(now), ChildSpec("identity", Keys, args=(days,)))
    assert result.status is status
    assert ("ci" in result.message) is (status is WARN)


async def test_an_agent_whose_tools_are_gone_is_named() -> None:
    store = MemoryStore()
    workspace = Workspace("ws_1", "Mira", "usr_1", "personal", NOW)
    await store.users.create(User("usr_1", "mira@example.org", "", NOW), workspace)
    for name, tools in (("well", ()), ("lost", ("teleport",))):
        model = AgentModel(provider="builtin", model_id="rehearsal")
        document = AgentDocument(model=model, system_prompt_template="Hello", tools=AgentTools(allow=tools))
        version = AgentVersion(f"agv_{name}", 1, to_json(document), NOW)
        agent = Agent(f"agc_{name}", "ws_1", name, version, NOW, NOW)
        await store.agents.create(agent, AuditEntry(f"aud_{name}", "agent.created", "info", NOW))
    tree = (
        agents_spec("builtin/rehearsal", store),
        SupervisorSpec("tools", children=(tool_host_spec(lambda: (), ToolCache()),)),
    )
    result = await found(upkeep.agents_sound(store.admin), *tree)
    assert result.status is WARN
    assert "lost of ws_1" in result.message
    assert "teleport" in result.message
    assert "well" not in result.message
    await store.agents.delete("ws_1", "lost", AuditEntry("aud_x", "agent.deleted", "info", NOW), now=NOW)
    assert (await found(upkeep.agents_sound(store.admin), *tree)).status is PASS


class Mute:
    """An embedder that is away."""

    name, least = "mute", 0.1

    async def embed(self, texts: object) -> list[tuple[float, ...]]:
        await trio.lowlevel.checkpoint()
        raise Unavailable("no connection")


async def test_an_embedder_that_is_away_is_a_warning() -> None:
    assert (await found(upkeep.embedder_answers(Vectors(now=now), now))).status is PASS
    result = await found(upkeep.embedder_answers(Vectors(Mute(), now=now), now))
    assert (result.status, result.message) == (WARN, "mute makes no vectors: no connection")
