"""The tool that has something done in the background."""

from typing import Any

import msgspec
from trio.testing import MockClock

from tests.actors.jobs.stage import START, staged
from understudy.actors.jobs.messages import JobStatus
from understudy.actors.session.messages import DIRECTORY, AuthorizeSession
from understudy.actors.tools.enqueueing import job_tools
from understudy.actors.tools.messages import ToolContext, ToolResult
from understudy.actors.tools.toolbox import Toolbox
from understudy.runtime import Actor, ActorSystem, ChildSpec, SupervisorSpec, receive
from understudy.storage.records import Session, SessionKey, SessionStatus, ToolCall


async def run(system: ActorSystem, *, root: str = "", **arguments: Any) -> ToolResult:
    context = ToolContext("ws_mira", "usr_mira", "chad", "ses_1", "trn_1", root=root)
    call = ToolCall("tc_1", "job_enqueue", msgspec.json.encode(arguments).decode())
    return await Toolbox(job_tools(system)).run(call, context)


async def test_a_job_is_its_turns_and_only_what_users_may_have(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        result = await run(stage.system, type="noop", payload={"sleepMs": 5})
        (job,) = stage.store.tables.jobs.values()
        assert (result.ok, job.id in result.content) == (True, True)
        assert (job.workspace_id, job.uid, job.payload) == ("ws_mira", "usr_mira", {"sleepMs": 5})
        await stage.reaches(job, JobStatus.COMPLETED)
        for type_, payload, said in (
            ("secret", {}, "there are no jobs of type 'secret'; there are: bench, noop"),
            ("noop", {"sleepMs": -1}, "payload.sleepMs: invalid value"),
        ):
            result = await run(stage.system, type=type_, payload=payload)
            assert not result.ok
            assert said in result.content


class Directory(Actor):
    """Every session is of this surface."""

    def __init__(self, surface: str) -> None:
        self._surface = surface

    @receive
    def authorize(self, message: AuthorizeSession) -> Session:
        key = SessionKey("ws_mira", message.uid, "chad", self._surface, "main")
        return Session(message.session_id, key, SessionStatus.ACTIVE, START, START)


async def test_only_an_agent_that_people_talk_to_has_agents_run_in_the_background(autojump_clock: MockClock) -> None:
    for type_, surface, root, may in (
        ("agent.run", "chat", "", True),
        ("agent.run", "prop", "", True),
        ("agent.run", "job", "", False),
        ("agent.run", "chat", "trn_0", False),
        ("heartbeat.run", "chat", "", True),
        ("heartbeat.run", "prop", "", False),
        ("heartbeat.run", "job", "", False),
    ):
        async with staged() as stage:
            directory = ChildSpec(DIRECTORY.rpartition("/")[2], Directory, args=(surface,))
            await stage.system.spawn(SupervisorSpec(DIRECTORY.partition("/")[0], children=(directory,)))
            result = await run(stage.system, type=type_, root=root)
            assert not result.ok  # the stage has no such type
            assert (f"there are no jobs of type {type_!r}" in result.content) is may
            assert ("somebody has to be there" in result.content) is not may


async def test_without_a_queue_it_fails_and_says_so() -> None:
    async with ActorSystem("no jobs") as system:
        await system.stop()
        result = await run(system, type="noop")
        assert (result.ok, result.content) == (False, "the job queue is away for the moment")
