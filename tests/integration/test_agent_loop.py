"""Long conversations and calls that wait for somebody, on a whole server that dies in between."""

from pathlib import Path
from typing import Any

import trio

from tests.support.client import Client, connect, register
from tests.support.node import INTERNAL_KEY, running_node

SMALL = {
    "id": "listener",
    "model": {"provider": "builtin", "modelId": "rehearsal", "maxContextTokens": 1500, "maxOutputTokens": 40},
    "systemPromptTemplate": "Listen.",
}


BROKEN = {**SMALL, "id": "broken", "model": {"provider": "openai", "modelId": "nobody-has-a-key-for-it"}}
MORE = "And so on. " * 45


async def talk(client: Client, *messages: str) -> dict[str, Any]:
    for message in messages:
        answer = await client.chat(message, agentId="listener")
        assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def approvals(client: Client, status: str) -> list[dict[str, Any]]:
    found = await client.http.get(f"/approvals?status={status}", headers=client.headers)
    assert found.status_code == 200, found.text
    listed: list[dict[str, Any]] = found.json()["approvals"]
    return listed


async def a_long_conversation(client: Client) -> dict[str, Any]:
    """Nine turns in a window that holds six."""
    said = ["My cat is called Miso. She is three.", *(f"Number {n} is {n * n}. {MORE}" for n in range(8))]
    last = await talk(client, *said)
    session = await client.session(last["sessionId"])
    assert "My cat is called Miso." in session["summary"]
    assert session["messageCount"] == len(session["messages"]) == 18
    compacted = [m.get("compacted", False) for m in session["messages"]]
    assert (compacted[0], compacted[-1]) == (True, False)
    assert compacted == sorted(compacted, reverse=True)
    return session


async def a_call_that_waits(client: Client) -> None:
    """A turn that waits for somebody's consent, and whose reader has left."""
    async with client.stream("What time is it?") as events:
        async for event in events:
            if event.type == "approval_requested":
                break
    (waiting,) = await approvals(client, "pending")
    assert (waiting["id"], waiting["tool"]) == (event.data["requestId"], "datetime_now")
    presence = (await client.http.get("/agent/presence", headers=client.headers)).json()["agents"]
    assert "awaiting_approval" in [agent["state"] for agent in presence]


async def is_paused(client: Client) -> bool:
    """Whether the broken agent is left alone; else it fails as it does."""
    answer = await client.chat("hello", agentId="broken")
    told: tuple[int, str] = (answer.status_code, answer.json()["code"])
    assert told in {(502, "PROVIDER_ERROR"), (503, "AGENT_PAUSED")}
    status = int(told[0])
    assert status == 502 or 0 < int(answer.headers["retry-after"]) <= 900
    return status == 503


async def test_after_a_crash_summaries_and_pauses_hold_and_no_call_waits_for_consent(
    tmp_path: Path, pg_dsn: str
) -> None:
    environment = {
        "UNDERSTUDY_REQUIRE_APPROVAL": "datetime_now",
        "UNDERSTUDY_MODEL": "builtin/rehearsal",
        "UNDERSTUDY_MAX_CONSECUTIVE_FAILURES": "3",
    }
    with trio.fail_after(90):
        async with (
            running_node(tmp_path, database_url=pg_dsn, environment=environment) as node,
            connect(node.url) as http,
        ):
            mira = await register(http)
            for agent in (SMALL, BROKEN):
                assert (await http.post("/agents", json=agent, headers=mira.headers)).status_code == 201
            assert [await is_paused(mira) for _ in range(4)] == [False, False, False, True]
            before = await a_long_conversation(mira)
            await a_call_that_waits(mira)
            node.kill()
            await node.start()

            assert await approvals(mira, "pending") == []
            assert [each["status"] for each in await approvals(mira, "all")] == ["cancelled"]
            # It may have grown since it was looked at: room is made ahead, beside what comes next.
            assert (await mira.session(before["id"]))["summary"].startswith(before["summary"])
            after = await talk(mira, *(f"Letter {letter}. {MORE}" for letter in "abcdef"))
            assert after["sessionId"] == before["id"]
            summary = (await mira.session(before["id"]))["summary"]
            assert "My cat is called Miso." in summary
            assert "Number 7 is 49." in summary

            assert await is_paused(mira)
            path = "/admin/agents/broken/resume"
            assert (await http.post(path, headers={"X-Api-Key": INTERNAL_KEY})).status_code == 200
            assert not await is_paused(mira)

            status = (await mira.chat("/status", agentId="listener")).json()
            assert status["sessionId"] == before["id"]
            assert "Model: builtin/rehearsal" in status["content"]
            assert status["usage"] == {"promptTokens": 0, "completionTokens": 0, "totalTokens": 0}
            too_long = await mira.chat("x" * 9000, agentId="listener")
            assert (too_long.status_code, too_long.json()["code"]) == (400, "CONTEXT_TOO_LARGE")

            async with mira.stream("What time is it?", surfaceId="again") as events:
                async for event in events:
                    if event.type == "approval_requested":
                        path = f"/approvals/{event.data['requestId']}/approve"
                        assert (await http.post(path, headers=mira.headers)).status_code == 200
                assert event.type == "done"
                assert "datetime_now gave" in event.data["content"]
            assert [each["status"] for each in await approvals(mira, "all")] == ["approved", "cancelled"]
