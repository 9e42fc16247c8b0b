"""PostgreSQL goes away under load and comes back."""

from pathlib import Path
from urllib.parse import quote

import pytest
import trio
from psycopg.conninfo import conninfo_to_dict

from tests.support.answered import Answered, assert_kept
from tests.support.client import Client, Line, connect, register
from tests.support.node import running_node
from understudy.storage.embedded import EmbeddedPostgres

CHATS = 30


def url_of(server: EmbeddedPostgres) -> str:
    """The server's address as an operator would write it."""
    parts = conninfo_to_dict(server.conninfo)
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={quote(str(parts['host']))}&port={parts['port']}"


@pytest.mark.slow
async def test_readiness_and_health_turn_503_and_back_and_nothing_acknowledged_is_lost_when_postgres_stops_under_load(
    tmp_path: Path,
) -> None:
    answered: list[Answered] = []
    refused: list[tuple[int, dict[str, object]]] = []
    stop = trio.Event()

    async def chat_on(client: Client, surface: str) -> None:
        async with Line(client.http.base_url) as line:
            turn = 0
            while not stop.is_set():
                message = f"{surface} says {turn}"
                answer = await client.chat_on(line, message, surfaceId=surface)
                if answer.status == 200:
                    answered.append(Answered(answer.body["sessionId"], message, answer.body["content"]))
                else:
                    refused.append((answer.status, answer.body))
                    await trio.sleep(0.1)
                turn += 1

    with trio.fail_after(300):
        async with (
            EmbeddedPostgres(tmp_path / "elsewhere") as postgres,
            running_node(tmp_path, database_url=url_of(postgres)) as node,
            connect(node.url) as http,
        ):

            async def health(*, well: bool) -> dict[str, str]:
                while ((answer := await http.get("/health")).status_code == 200) is not well:
                    await trio.sleep(0.05)
                checks: dict[str, str] = answer.json()["checks"]
                return checks

            client = await register(http)
            assert await health(well=True) == {"postgres": "ok", "typesense": "ok"}
            async with trio.open_nursery() as nursery:
                for number in range(CHATS):
                    nursery.start_soon(chat_on, client, f"surface-{number}")
                while len(answered) < CHATS:
                    await trio.sleep(0.05)
                await postgres.stop()
                await node.wait_ready(ready=False)
                unready = await http.get("/readiness")
                assert unready.status_code == 503
                assert unready.json()["ready"] is False
                assert "ok" not in (await health(well=False)).values()
                assert (await http.get("/livez")).status_code == 200
                await postgres.start()
                await node.wait_ready()
                assert set((await health(well=True)).values()) == {"ok"}
                after = len(answered)
                while len(answered) < after + CHATS:
                    await trio.sleep(0.05)
                stop.set()
            assert {status for status, _ in refused} <= {502, 503, 504}
            assert all({"error", "code", "requestId"} <= body.keys() for _, body in refused)
            assert node.process is not None
            assert node.process.poll() is None, "the server must live through it"
            await assert_kept(client, answered)
