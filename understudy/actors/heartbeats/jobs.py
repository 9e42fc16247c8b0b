"""A job that has a heartbeat looked at before its time."""

from typing import Annotated

from msgspec import Meta

from understudy.actors.clock import written
from understudy.actors.heartbeats.messages import HEARTBEATS, Editor, RunHeartbeat
from understudy.actors.jobs.kinds import JobFailed, JobKind, JobResult, JobRun
from understudy.actors.jobs.payloads import Fields, fits, read
from understudy.runtime import ActorSystem

HEARTBEAT_RUN = "heartbeat.run"


class HeartbeatDue(Fields, frozen=True):
    """Which heartbeat."""

    heartbeat_id: Annotated[str, Meta(min_length=1, max_length=128)]


def heartbeat_job_kinds(system: ActorSystem) -> tuple[JobKind, ...]:
    """The type ``heartbeat.run``: makes a heartbeat of whoever asked for the job due now.

    The job ends when that is stored; what comes of it is among the heartbeat's runs. An attempt after one that was cut
    off may have it look once more.
    """

    async def run(attempt: JobRun) -> JobResult:
        job, asked = attempt.job, read(HeartbeatDue, attempt.job.payload)
        if job.uid is None or job.workspace_id is None:
            raise JobFailed("a heartbeat belongs to somebody in a workspace", code="VALIDATION")
        editor = Editor(job.workspace_id, job.uid)
        beat = await system.ask(HEARTBEATS, RunHeartbeat(editor, asked.heartbeat_id, job.run_at))
        return {"heartbeatId": beat.id, "dueAt": written(beat.next_run_at)}

    return (JobKind(HEARTBEAT_RUN, run, fits(HeartbeatDue), public=True),)
