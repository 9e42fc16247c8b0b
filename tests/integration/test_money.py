"""What a conversation costs and how it went, on a whole server."""

import json
from pathlib import Path
from typing import Any

import trio

from tests.support.client import connect, register
from tests.support.node import INTERNAL_KEY, running_node
from tests.support.otlp import spans_in
from tests.support.provider import stand_in
from tests.support.receiver import receiving

PRICES = """
[openai]
"fake" = { prompt = 2_000_000, completion = 8_000_000 }
"""
PARENT = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


async def test_a_conversation_is_billed_at_the_operators_prices_and_traced(tmp_path: Path, pg_dsn: str) -> None:
    (tmp_path / "prices.toml").write_text(PRICES)
    with trio.fail_after(90):
        async with stand_in() as provider:
            environment = {
                **provider.environment,
                "UNDERSTUDY_PRICES_FILE": str(tmp_path / "prices.toml"),
            }
            async with (
                running_node(tmp_path, database_url=pg_dsn, environment=environment) as node,
                connect(node.url) as http,
            ):
                mira = await register(http)
                headers = mira.headers | {"traceparent": f"00-{PARENT[0]}-{PARENT[1]}-01", "X-Request-ID": "req-7"}
                said = await http.post("/agent/chat", json={"message": "hello", "agentId": "chad"}, headers=headers)
                assert said.status_code == 200, said.text
                usage = said.json()["usage"]
                micros = 2 * usage["promptTokens"] + 8 * usage["completionTokens"]
                assert micros > 0

                costs = (await http.get("/costs", headers=mira.headers)).json()
                assert costs["totalCost"] == costs["byProvider"]["openai"] == micros / 1_000_000
                assert costs["unpriced"] == {}
                (listed,) = (await http.get("/traces", headers=mira.headers)).json()["traces"]
                trace = (await http.get(f"/traces/{listed['id']}", headers=mira.headers)).json()
                assert (trace["traceId"], trace["parentId"], trace["requestId"]) == (*PARENT, "req-7")
                assert (trace["status"], trace["costUsd"], trace["usage"]) == ("ok", micros / 1_000_000, usage)
                assert [span["kind"] for span in trace["spans"]] == ["resolve_session", "context", "inference"]
                billed = (await http.get("/metrics", headers={"X-Api-Key": INTERNAL_KEY})).json()["billing"]
                assert billed["totalCost"] == micros / 1_000_000
                assert "billing" not in (await http.get("/metrics")).json()


async def test_a_conversation_is_exported_below_its_askers_span_and_never_waits_for_the_collector(
    tmp_path: Path, pg_dsn: str
) -> None:
    with trio.fail_after(90):
        async with stand_in() as provider, receiving(shut=True) as collector:
            environment = {
                **provider.environment,
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_EXPORTER_OTLP_HEADERS": "api-key=s3cret",
            }
            async with (
                running_node(tmp_path, database_url=pg_dsn, environment=environment) as node,
                connect(node.url) as http,
            ):
                mira = await register(http)
                for number in range(5):  # the collector answers none of them, and is asked for the first one's already
                    headers = mira.headers | {"traceparent": f"00-{PARENT[0]}-{PARENT[1]}-01"}
                    body = {"message": f"sesame {number}", "agentId": "chad"}
                    said = await http.post("/agent/chat", json=body, headers=headers)
                    assert said.status_code == 200, said.text
                assert collector.got == []
                collector.gate.set()
                with trio.fail_after(30):
                    roots: list[dict[str, Any]] = []
                    while len(roots) < 5:
                        await collector.wait(len(collector.got) + 1, 30)
                        roots = [
                            span
                            for got in collector.got
                            for span in spans_in(json.loads(got.body))
                            if span["name"] == "invoke_agent chad"
                        ]
                assert {(span["traceId"], span["parentSpanId"]) for span in roots} == {PARENT}
                assert len({span["spanId"] for span in roots}) == 5
                assert all(got.headers["api-key"] == "s3cret" for got in collector.got)
                assert not any(b"sesame" in got.body or b"sk-test" in got.body for got in collector.got)
                key = {"X-Api-Key": INTERNAL_KEY}
                shown = (await http.get("/actors/trace_export", headers=key)).text
                assert "s3cret" not in shown
                assert "s3cret" not in node.log
