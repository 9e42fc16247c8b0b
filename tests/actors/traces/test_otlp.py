"""What a collector is told of a turn: the conventions' names, the right parents, and nobody's words."""

import re
from datetime import timedelta

import attrs
import msgspec
import pytest

from tests.actors.traces.stage import SPANS
from tests.support.otlp import attributes_of, spans_in
from tests.support.storage import START
from understudy.actors.traces.otlp import CLIENT, ERROR, INTERNAL, SERVER, export_request
from understudy.storage.records import TurnStatus, Usage
from understudy.storage.spending import Span, Trace

TRACE = Trace(
    id="trc_1",
    turn_id="trn_1",
    workspace_id="ws_5",
    uid="usr_9kq2",
    agent_id="chad",
    session_id="ses_71ab",
    status=TurnStatus.COMPLETED,
    started_at=START,
    finished_at=START + timedelta(milliseconds=1840),
    rounds=2,
    tool_calls=1,
    usage=Usage(812, 64),
    cost=2_100,
    unpriced=False,
    request_id="req-7",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    parent_id="00f067aa0ba902b7",
    spans=SPANS,
)
NANOS = int(START.timestamp()) * 1_000_000_000


def exported(trace: Trace) -> list[dict[str, object]]:
    return spans_in(msgspec.json.decode(export_request([trace], service="ours")))


def test_a_turn_is_a_child_of_its_asker_and_its_parts_are_children_of_it() -> None:
    root, *parts = exported(TRACE)
    assert {span["traceId"] for span in (root, *parts)} == {TRACE.trace_id}
    assert root["parentSpanId"] == TRACE.parent_id
    assert {span["parentSpanId"] for span in parts} == {root["spanId"]}
    ids = [str(span["spanId"]) for span in (root, *parts)]
    assert len(set(ids)) == 8
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in ids)
    assert (root["name"], root["kind"], "status" in root) == ("invoke_agent chad", SERVER, False)
    assert (root["startTimeUnixNano"], root["endTimeUnixNano"]) == (str(NANOS), str(NANOS + 1_840_000_000))
    assert [span["name"] for span in parts] == [
        "resolve_session",
        "memory",
        "context",
        "chat opus",
        "approval",
        "execute_tool web_search",
        "chat llama",
    ]
    assert parts[3]["startTimeUnixNano"] == str(NANOS + 6_000_000)
    assert parts[3]["endTimeUnixNano"] == str(NANOS + 906_000_000)


@pytest.mark.parametrize(
    ("trace_id", "parent_id"), [(None, None), ("0" * 32, "00f067aa0ba902b7"), ("4b" * 16, "0" * 16)]
)
def test_a_turn_that_nobody_traced_is_a_trace_of_its_own(trace_id: str | None, parent_id: str | None) -> None:
    root, *_ = exported(attrs.evolve(TRACE, trace_id=trace_id, parent_id=parent_id))
    assert "parentSpanId" not in root
    assert re.fullmatch("[0-9a-f]{32}", str(root["traceId"]))
    assert root["traceId"] != "0" * 32


def test_exporting_a_turn_again_gives_the_same_ids_and_another_turn_others() -> None:
    alone = attrs.evolve(TRACE, trace_id=None, parent_id=None)
    assert exported(alone) == exported(alone)
    other = attrs.evolve(alone, turn_id="trn_2")
    assert not {span["spanId"] for span in exported(alone)} & {span["spanId"] for span in exported(other)}
    assert exported(alone)[0]["traceId"] != exported(other)[0]["traceId"]


def test_inferences_have_the_attributes_of_the_conventions() -> None:
    _, _, _, _, chat, _, _, cut = exported(TRACE)
    assert chat["kind"] == CLIENT
    assert attributes_of(chat) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.system": "anthropic",
        "gen_ai.request.model": "opus",
        "gen_ai.response.model": "opus",
        "gen_ai.response.finish_reasons": {"values": [{"stringValue": "tool_calls"}]},
        "gen_ai.usage.input_tokens": "100",
        "gen_ai.usage.output_tokens": "20",
        "gen_ai.usage.cache_read.input_tokens": "50",
        "understudy.attempts": "2",
        "understudy.estimated": False,
        "understudy.cost_usd": 0.0021,
    }
    assert cut["status"] == {"code": ERROR, "message": "TIMEOUT"}
    assert attributes_of(cut)["error.type"] == "TIMEOUT"
    assert "gen_ai.response.model" not in attributes_of(cut)


def test_a_turn_and_its_tools_say_whose_they_are_and_how_they_ended() -> None:
    failed = attrs.evolve(TRACE, status=TurnStatus.FAILED, error_code="PROVIDER_ERROR")
    root, *_, tool, _ = exported(failed)
    assert root["status"] == {"code": ERROR, "message": "PROVIDER_ERROR"}
    assert attributes_of(root) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": "chad",
        "gen_ai.conversation.id": "ses_71ab",
        "gen_ai.usage.input_tokens": "812",
        "gen_ai.usage.output_tokens": "64",
        "user.id": "usr_9kq2",
        "error.type": "PROVIDER_ERROR",
        "understudy.workspace.id": "ws_5",
        "understudy.turn.id": "trn_1",
        "understudy.turn.status": "failed",
        "understudy.trace.id": "trc_1",
        "understudy.request.id": "req-7",
        "understudy.rounds": "2",
        "understudy.tool_calls": "1",
        "understudy.cost_usd": 0.0021,
        "understudy.unpriced": False,
    }
    assert (tool["kind"], tool["status"]) == (INTERNAL, {"code": ERROR, "message": "the tool failed"})
    assert attributes_of(tool) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "web_search",
        "gen_ai.tool.call.id": "c1",
        "error.type": "_OTHER",
    }


def test_a_turn_that_somebody_stopped_is_no_error_and_says_that_it_was_stopped() -> None:
    root, *_ = exported(attrs.evolve(TRACE, status=TurnStatus.CANCELLED, error_code="CANCELLED"))
    assert "status" not in root
    assert "error.type" not in attributes_of(root)
    assert attributes_of(root)["understudy.turn.status"] == "cancelled"


def test_no_words_of_anybody_go_out_whatever_a_span_holds() -> None:
    words = {"arguments": "sesame", "prompt": "sesame", "values": ["sesame"], "deep": {"a": "sesame"}, "tokens": 7}
    kinds = ("inference", "tool", "context", "memory", "compaction", "approval", "something_new")
    body = export_request([attrs.evolve(TRACE, spans=tuple(Span(kind, 0, 1, words) for kind in kinds))], service="x")
    assert b"sesame" not in body
    assert b"understudy.context.tokens" in body
