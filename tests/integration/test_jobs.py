"""Jobs on a whole server: done in the background, given back by a stop, and done once whatever is killed."""

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio

from tests.support.client import Client, connect, register
from tests.support.node import INTERNAL_KEY, Node, running_node

PEOPLE = 10
JOBS_EACH = 20
KILLS = 3


async def enqueue(client: Client, type_: str, payload: dict[str, Any], **more: Any) -> str:
    body = {"type": type_, "payload": payload, **more}
    answer = await client.http.post("/jobs", json=body, headers=client.headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def job(client: Client, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.http.get(f"/jobs/{job_id}", headers=client.headers)).json()
    return found


async def reaches(client: Client, job_id: str, status: str) -> dict[str, Any]:
    while (found := await job(client, job_id))["status"] != status:
        await trio.sleep(0.01)
    return found


async def test_an_agent_runs_in_the_background_and_a_stop_gives_its_job_back(tmp_path: Path, pg_dsn: str) -> None:
    with trio.fail_after(110):
        async with running_node(tmp_path, database_url=pg_dsn) as node:
            async with connect(node.url) as http:
                mira = await register(http)
                job_id = await enqueue(mira, "agent.run", {"message": "hello", "surfaceId": "background"})
                done = await reaches(mira, job_id, "completed")
                session = await mira.session(done["result"]["sessionId"])
                assert (session["surface"], session["surfaceId"]) == ("job", "background")
                assert [message["content"] for message in session["messages"]] == ["hello", done["result"]["content"]]
                long = await enqueue(mira, "noop", {"sleepMs": 2000}, maxRetries=0)
                await reaches(mira, long, "running")
                refused = await http.request("DELETE", f"/jobs/{long}", headers=mira.headers)
                assert refused.status_code == 409
            assert await node.stop() == 0
            await node.start()
            async with connect(node.url) as http:
                mira.http = http
                done = await reaches(mira, long, "completed")
                assert (done["attempts"], done["result"]) == (1, {"attempt": 1})


def completed(dsn: str) -> int:
    """How many jobs say that they are done."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM jobs WHERE status = 'completed' AND NOT internal").fetchone()
        return int(row[0]) if row else 0


def attempts(dsn: str) -> int:
    """How often jobs were begun in all."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT sum(attempts) FROM jobs WHERE NOT internal").fetchone()
        return int(row[0]) if row else 0


async def kill_in_the_middle(node: Node, dsn: str, enough: int) -> None:
    """``kill -9`` once so many jobs are done, and start again."""
    while completed(dsn) < enough:
        await trio.sleep(0.02)
    node.kill()
    await node.start()


def effects(dsn: str) -> Counter[str]:
    """How often what each job was to do was done: turns that came to a good end, by the job that wanted them."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT s.surface_id, count(*) FROM turns t JOIN sessions s ON s.id = t.session_id"
            " WHERE s.surface = 'job' AND t.status = 'completed' GROUP BY s.surface_id"
        ).fetchall()
    return Counter(dict(rows))


@pytest.mark.slow
async def test_killed_in_the_middle_of_two_hundred_jobs_each_is_done_once_and_none_is_forgotten(
    tmp_path: Path, pg_dsn: str
) -> None:
    environment = {"JOB_CONCURRENCY": "20", "UNDERSTUDY_JOB_LEASE": "1s"}
    with trio.fail_after(400):
        async with running_node(tmp_path, database_url=pg_dsn, environment=environment) as node:
            wanted: list[str] = []
            async with connect(node.url) as http:
                people = [await register(http) for _ in range(PEOPLE)]
                for number in range(JOBS_EACH):
                    for client in people:
                        wanted.append(
                            await enqueue(client, "agent.run", {"message": f"number {number}"}, maxRetries=10)
                        )
            for kill in range(1, KILLS + 1):
                await kill_in_the_middle(node, pg_dsn, kill * len(wanted) // (KILLS + 1))
            while completed(pg_dsn) < len(wanted):
                await trio.sleep(0.05)
            assert effects(pg_dsn) == Counter(wanted)
            assert attempts(pg_dsn) > len(wanted) + KILLS, "the kills met too little to prove anything"
            async with connect(node.url) as http:
                for client in people:
                    client.http = http
                    page = (await http.get("/jobs?status=completed", headers=client.headers)).json()
                    assert page["total"] == JOBS_EACH


@pytest.mark.slow
async def test_a_server_that_was_paused_for_too_long_changes_nothing_when_it_wakes(tmp_path: Path, pg_dsn: str) -> None:
    environment = {"UNDERSTUDY_JOB_LEASE": "3s"}  # a busy machine lets the second server keep its own
    with trio.fail_after(180):
        async with running_node(tmp_path / "one", database_url=pg_dsn, environment=environment) as one:
            async with connect(one.url) as http:
                mira = await register(http)
                job_id = await enqueue(mira, "noop", {"sleepMs": 2500})
                await reaches(mira, job_id, "running")
                assert one.process is not None
                one.process.send_signal(signal.SIGSTOP)
            async with (
                running_node(tmp_path / "two", database_url=pg_dsn, environment=environment) as two,
                connect(two.url) as http,
            ):
                mira.http = http
                done = await reaches(mira, job_id, "completed")
                assert (done["attempts"], done["result"]) == (2, {"attempt": 2})
                one.process.send_signal(signal.SIGCONT)
                await one.wait_ready()
                while (await node_of(one, f"job/{job_id}")) is not None:
                    await trio.sleep(0.02)
                assert await job(mira, job_id) == done


async def node_of(node: Node, address: str) -> Any:
    """What the tree of a server says of an actor; None when there is none."""
    async with connect(node.url) as http:
        answer = await http.get(f"/diagnostics/actors/{address}", headers={"X-Api-Key": INTERNAL_KEY})
        return answer.json() if answer.status_code == 200 else None
