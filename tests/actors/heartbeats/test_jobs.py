"""A heartbeat that is looked at because a job says so."""

from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from tests.actors.heartbeats.stage import URL, Beats, now, stage
from tests.actors.session.stage import KEY
from tests.support.feeds import rss
from understudy.actors.clock import written
from understudy.actors.errors import Conflict, Forbidden, NotFound
from understudy.actors.heartbeats.jobs import HEARTBEAT_RUN, heartbeat_job_kinds
from understudy.actors.jobs.kinds import JobFailed, JobResult, JobRun
from understudy.storage.job import Job


async def run(
    it: Beats, heartbeat_id: str, uid: str | None = KEY.uid, workspace_id: str = KEY.workspace_id
) -> JobResult:
    """Do such a job, asked for now."""
    (kind,) = heartbeat_job_kinds(it.system)
    payload = {"heartbeatId": heartbeat_id}
    assert kind.check(payload) == ()
    return await kind.run(JobRun(Job("job_1", kind.name, payload, now(), now(), workspace_id, uid), now))


async def test_a_job_has_a_heartbeat_look_now_and_the_next_time_counts_from_there(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("one")
        beat = (await it.make(interval=3600)).heartbeat.id
        (first,) = await it.settled(beat, 1)
        await trio.sleep(60)
        due = now()
        assert await run(it, beat) == {"heartbeatId": beat, "dueAt": written(due)}
        runs = await it.settled(beat, 3, poll=60)
        assert [each.due_at for each in runs] == [first.due_at, due, due + timedelta(hours=1)]


async def test_only_its_maker_has_it_look_and_only_while_it_is_on(autojump_clock: MockClock) -> None:
    async with stage() as it:
        it.web.answers[URL] = rss("one")
        beat = (await it.make(interval=3600)).heartbeat.id
        await it.settled(beat, 1)
        for uid, workspace_id, refusal in (
            ("usr_else", KEY.workspace_id, Forbidden),
            (KEY.uid, "ws_else", NotFound),
            (None, KEY.workspace_id, JobFailed),
        ):
            with pytest.raises(refusal):
                await run(it, beat, uid, workspace_id)
        await it.change(beat, enabled=False)
        with pytest.raises(Conflict):
            await run(it, beat)
        assert len(await it.runs(beat)) == 1


def test_the_payload_names_the_heartbeat() -> None:
    (kind,) = heartbeat_job_kinds(None)  # type: ignore[arg-type]
    assert (kind.name, kind.public) == (HEARTBEAT_RUN, True)
    assert [detail.path for detail in kind.check({})] == ["heartbeatId"]
    assert [detail.path for detail in kind.check({"heartbeatId": "hbt_1", "more": 1})] == ["more"]
