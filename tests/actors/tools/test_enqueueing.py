"""The tool that has something done in the background."""

from typing import Any

import msgspec
from trio.testing import MockClock

from tests.actors.jobs.stage import staged
from understudy.actors.jobs.messages import JobStatus
from understudy.actors.tools.enqueueing import job_tools
from understudy.actors.tools.messages import ToolContext, ToolResult
from understudy.actors.tools.toolbox import Toolbox
from understudy.runtime import ActorSystem
from understudy.storage.records import ToolCall


async def run(system: ActorSystem, **arguments: Any) -> ToolResult:
    context = ToolContext("ws_mira", "usr_mira", "chad", "ses_1", "trn_1")
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


async def test_without_a_queue_it_fails_and_says_so() -> None:
    async with ActorSystem("no jobs") as system:
        await system.stop()
        result = await run(system, type="noop")
        assert (result.ok, result.content) == (False, "the job queue is away for the moment")
