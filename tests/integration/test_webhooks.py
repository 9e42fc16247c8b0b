"""Webhooks on a whole server: what a conversation sends, and what a killed server still sends."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import trio
from standardwebhooks import Webhook as Verifier

from tests.support.client import Client, connect, register
from tests.support.completions import Behaviour
from tests.support.node import Node, running_node
from tests.support.provider import StandIn, stand_in
from tests.support.receiver import Receiver, receiving
from understudy.actors.facts import fact

ENVIRONMENT = {
    "ALLOW_INSECURE_WEBHOOKS": "true",
    "UNDERSTUDY_OUTBOUND_ALLOW": "127.0.0.1/32",
    "UNDERSTUDY_WEBHOOK_RETRIES": "50ms,50ms,50ms",
}
FACTS = 1000


def pointed_at(provider: StandIn) -> dict[str, str]:
    """What makes a server ask the stand-in where an agent is on `openai`, and nowhere else."""
    return provider.environment | {"UNDERSTUDY_MODEL": "builtin/rehearsal"}


async def make(client: Client, url: str, **more: Any) -> dict[str, Any]:
    answer = await client.http.post("/webhooks", json={"url": url, "events": ["*"]} | more, headers=client.headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def history(client: Client, webhook: Mapping[str, Any], limit: int = 50) -> list[dict[str, Any]]:
    path = f"/webhooks/{webhook['id']}/deliveries?limit={limit}"
    shown: list[dict[str, Any]] = (await client.http.get(path, headers=client.headers)).json()["deliveries"]
    return shown


async def test_a_conversation_is_told_of_signed_and_again_until_it_is_taken(tmp_path: Path, pg_dsn: str) -> None:
    with trio.fail_after(110):
        async with (
            receiving(500, 500) as receiver,
            receiving(503) as answers,
            stand_in(Behaviour(stall_opened=True)) as silent,
            running_node(tmp_path, database_url=pg_dsn, environment=ENVIRONMENT | pointed_at(silent)) as node,
            connect(node.url) as http,
        ):
            mira = await register(http)
            refused = await http.post(
                "/webhooks", json={"url": "https://10.0.0.1", "events": ["*"]}, headers=mira.headers
            )
            assert refused.status_code == 400
            webhook = await make(mira, receiver.url, events=["agent.completed"])
            said = (await mira.chat("hello")).json()
            got = await receiver.wait(3)
            for each in got:
                told = Verifier(webhook["secret"]).verify(each.body, each.headers)
                mac = hmac.new(webhook["secret"].encode(), each.body, hashlib.sha256).hexdigest()
                assert each.headers["x-astra-signature"] == f"sha256={mac}"
            assert told["event"] == "agent.completed"
            assert (told["data"]["sessionId"], told["data"]["agentId"]) == (said["sessionId"], "chad")
            assert len({each.headers["webhook-id"] for each in got}) == 1
            while (shown := (await history(mira, webhook))[0])["status"] == "pending":
                await trio.sleep(0.01)
            assert (shown["status"], shown["attempts"], shown["responseStatus"]) == ("success", 3, 200)
            numbers = (await http.get("/metrics", headers={"Accept": "text/plain"})).text
            assert 'understudy_webhook_tries_total{outcome="retried"} 2.0' in numbers
            assert 'understudy_webhook_tries_total{outcome="delivered"} 1.0' in numbers

            await the_answer_of_a_chat_is_sent_where_it_was_asked_for(mira, answers.url, answers.wait)
            await the_answer_is_sent_though_the_server_is_killed_in_the_middle(node, mira, answers, silent)


async def the_answer_of_a_chat_is_sent_where_it_was_asked_for(mira: Client, url: str, wait: Any) -> None:
    for bad in ("https://10.0.0.1/", "no url", "ftp://example.org"):
        refused = await mira.chat("hello", webhookUrl=bad)
        assert (refused.status_code, refused.json()["details"][0]["path"]) == (400, "webhookUrl")
    for key in ("k1", "k1"):
        answered = (await mira.chat("how are you?", key=key, webhookUrl=f"{url}/done?x=1")).json()
    first, second = await wait(2)
    assert first.path == second.path == "/done?x=1"
    assert first.body == second.body
    assert "webhook-signature" not in first.headers
    sent = msgspec.json.decode(first.body)
    for field in ("content", "sessionId", "toolsUsed", "agentId", "model"):
        assert sent[field] == answered[field]
    assert sent["usage"].items() <= answered["usage"].items()
    assert first.headers["x-astra-event"] == "chat.answer"
    helped = (await mira.chat("/help", webhookUrl=url)).json()
    assert msgspec.json.decode((await wait(3))[2].body)["content"] == helped["content"] != ""


async def the_answer_is_sent_though_the_server_is_killed_in_the_middle(
    node: Node, mira: Client, answers: Receiver, silent: StandIn
) -> None:
    slow = {"id": "slow", "model": {"provider": "openai", "modelId": "fake"}, "systemPromptTemplate": "Think."}
    assert (await mira.http.post("/agents", json=slow, headers=mira.headers)).status_code == 201
    before = len(answers.got)
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(httpx.TransportError):
                await mira.chat("tell me a story", webhookUrl=answers.url, agentId="slow")

        nursery.start_soon(ask)
        while not silent.requests:
            await trio.sleep(0.005)
        node.kill()
    await node.start()
    late = (await answers.wait(before + 1, 60))[before]
    assert msgspec.json.decode(late.body)["code"] == "INTERRUPTED"


def publish(dsn: str, uid: str, workspace_id: str) -> set[str]:
    """Facts, put into the outbox as turns do; their ids."""
    facts = [
        fact("agent.completed", uid=uid, workspace_id=workspace_id, data={"n": n}, at=datetime.now(UTC))
        for n in range(FACTS)
    ]
    with psycopg.connect(dsn) as connection:
        connection.cursor().executemany(
            "INSERT INTO outbox (id, topic, workspace_id, payload, created_at) VALUES (%s, %s, %s, %s, %s)",
            [(f.id, f.topic, f.workspace_id, f.payload, f.created_at) for f in facts],
        )
        connection.execute("NOTIFY understudy_outbox")
    return {f.id for f in facts}


async def until_in_the_queues(dsn: str) -> None:
    """Wait until every fact has become deliveries: what is killed then is their sending."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute("SELECT FROM outbox WHERE done_at IS NULL LIMIT 1").fetchone() is not None:
            await trio.sleep(0.01)


@pytest.mark.slow
async def test_killed_in_the_middle_of_a_thousand_deliveries_each_arrives_with_its_own_id(
    tmp_path: Path, pg_dsn: str
) -> None:
    with trio.fail_after(300):
        async with (
            receiving(shut=True) as receiver,
            running_node(tmp_path, database_url=pg_dsn, environment=ENVIRONMENT) as node,
        ):
            async with connect(node.url) as http:
                mira = await register(http)
                webhook = await make(mira, receiver.url)
                workspace = (await http.get("/workspaces", headers=mira.headers)).json()["workspaces"][0]["id"]
                expected = publish(pg_dsn, mira.uid, workspace)
                await until_in_the_queues(pg_dsn)
                receiver.gate.set()
                await receiver.wait(FACTS // 2)
                node.kill()
            assert len(receiver.got) < FACTS - 100, "it was too fast to be killed in the middle"
            await node.start()
            while len({each.headers["webhook-id"] for each in receiver.got}) < FACTS:
                await receiver.wait(len(receiver.got) + 1)
            told = {(each.headers["webhook-id"], each.headers["x-astra-delivery"]) for each in receiver.got}
            assert {event_id for event_id, _ in told} == expected
            assert len(told) == FACTS, "an event that comes again is the same delivery"
            assert len(receiver.got) <= FACTS + 50, "no more than what was under way comes twice"
            async with connect(node.url) as http:
                mira.http = http
                while any(each["status"] != "success" for each in await history(mira, webhook, limit=200)):
                    await trio.sleep(0.05)
