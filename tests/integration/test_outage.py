"""PostgreSQL goes away under load and comes back."""

from pathlib import Path

import pytest
import trio

from tests.integration.test_crash import assert_kept
from tests.support.client import Client, connect, register
from tests.support.database import private_server
from tests.support.node import running_node

CHATS = 30


@pytest.mark.slow
async def test_readiness_turns_503_and_back_and_nothing_acknowledged_is_lost_when_postgres_stops_under_load(
    tmp_path: Path,
) -> None:
    answered: list[tuple[str, str, str, str]] = []
    refused: list[tuple[int, dict[str, object]]] = []
    stop = trio.Event()

    async def chat_on(client: Client, surface: str) -> None:
        turn = 0
        while not stop.is_set():
            message = f"{surface} says {turn}"
            answer = await client.chat(message, surfaceId=surface)
            body = answer.json()
            if answer.status_code == 200:
                answered.append((surface, body["sessionId"], message, body["content"]))
            else:
                refused.append((answer.status_code, body))
                await trio.sleep(0.1)
            turn += 1

    with trio.fail_after(120):
        async with (
            private_server(tmp_path / "postgres") as postgres,
            running_node(tmp_path, database_url=postgres.dsn) as node,
            connect(node.url) as http,
        ):
            client = await register(http)
            async with trio.open_nursery() as nursery:
                for number in range(CHATS):
                    nursery.start_soon(chat_on, client, f"surface-{number}")
                await trio.sleep(1)
                before = len(answered)
                await postgres.stop()
                await node.wait_ready(ready=False)
                unready = await http.get("/readiness")
                assert unready.status_code == 503
                assert unready.json()["ready"] is False
                await postgres.start()
                await node.wait_ready()
                after = len(answered)
                while len(answered) < after + CHATS:
                    await trio.sleep(0.05)
                stop.set()
            assert before > 0
            assert {status for status, _ in refused} <= {502, 503, 504}
            assert all({"error", "code", "requestId"} <= body.keys() for _, body in refused)
            assert node.process is not None
            assert node.process.poll() is None, "the server must live through it"
            await assert_kept(client, answered)
