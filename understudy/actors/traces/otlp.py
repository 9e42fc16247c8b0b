"""A turn's trace in OTLP's JSON form (opentelemetry-proto 1.x, "JSON Protobuf Encoding"). Pure.

Names and attributes follow OpenTelemetry's semantic conventions for generative AI. Only what is listed here goes out,
and of the other parts of a turn numbers and truths only: no prompt, answer, argument or result, whatever a span holds.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from understudy.actors.costs.prices import in_dollars
from understudy.storage.records import TurnStatus
from understudy.storage.spending import Span, Trace

Attributes = Mapping[str, object]

INTERNAL, SERVER, CLIENT = 1, 2, 3
ERROR = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_AS_WANTED = frozenset({TurnStatus.COMPLETED, TurnStatus.CANCELLED})
"""Ends that are no error: what somebody stopped did what they wanted."""

VENDORS = {"claude": "anthropic", "gemini": "gcp.gemini", "grok": "x_ai", "mistral": "mistral_ai"}
"""Providers whose name in the conventions is not ours."""

_encode = msgspec.json.encode


def export_request(traces: Iterable[Trace], *, service: str) -> bytes:
    """The body of a request to a collector's ``/v1/traces`` with the spans of *traces*."""
    resource = _attributes({"service.name": service})
    spans = [span for trace in traces for span in spans_of(trace)]
    scoped = [{"scope": {"name": "understudy"}, "spans": spans}]
    return _encode({"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": scoped}]})


def spans_of(trace: Trace) -> list[dict[str, object]]:
    """The turn as one span, a child of what its asker named in ``traceparent`` if they did; and its parts below it.

    The ids follow from the turn's, so that exporting it twice does not show it twice.
    """
    trace_id = trace.trace_id if _valid(trace.trace_id) else _digest(trace.turn_id, 16)
    root = _digest(f"{trace.turn_id}/0", 8)
    shared = {"traceId": trace_id}
    whole = shared | {
        "spanId": root,
        "name": f"invoke_agent {trace.agent_id}",
        "kind": SERVER,
        "startTimeUnixNano": _nanos(trace.started_at),
        "endTimeUnixNano": _nanos(max(trace.finished_at, trace.started_at)),
        "attributes": _attributes(_of_turn(trace)),
    }
    if trace_id == trace.trace_id and _valid(trace.parent_id):
        whole["parentSpanId"] = trace.parent_id
    if trace.status not in _AS_WANTED:
        whole["status"] = {"code": ERROR, "message": trace.error_code or trace.status.value}
    found: list[dict[str, object]] = [whole]
    for number, span in enumerate(trace.spans, start=1):
        name, kind, attributes, error = _part(span)
        began = trace.started_at + timedelta(milliseconds=span.offset_ms)
        part: dict[str, object] = shared | {
            "spanId": _digest(f"{trace.turn_id}/{number}", 8),
            "parentSpanId": root,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": _nanos(began),
            "endTimeUnixNano": _nanos(began + timedelta(milliseconds=max(0.0, span.duration_ms))),
            "attributes": _attributes(attributes),
        }
        if error is not None:
            part["status"] = {"code": ERROR, "message": error}
        found.append(part)
    return found


def _of_turn(trace: Trace) -> Attributes:
    error = None if trace.status in _AS_WANTED else trace.error_code or trace.status.value
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": trace.agent_id,
        "gen_ai.conversation.id": trace.session_id,
        "gen_ai.usage.input_tokens": trace.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": trace.usage.completion_tokens,
        "user.id": trace.uid,
        "error.type": error,
        "understudy.workspace.id": trace.workspace_id,
        "understudy.turn.id": trace.turn_id,
        "understudy.turn.status": trace.status.value,
        "understudy.trace.id": trace.id,
        "understudy.request.id": trace.request_id,
        "understudy.rounds": trace.rounds,
        "understudy.tool_calls": trace.tool_calls,
        "understudy.cost_usd": in_dollars(trace.cost),
        "understudy.unpriced": trace.unpriced,
    }


def _part(span: Span) -> tuple[str, int, Attributes, str | None]:
    """What a part is called, of which kind it is, its attributes, and its error if there was one."""
    said = span.attributes
    match span.kind:
        case "inference":
            model, error, vendor = _text(said.get("model")), _text(said.get("error")), _text(said.get("provider"))
            vendor = VENDORS.get(vendor or "", vendor)
            cost = said.get("costMicros")
            reason = _text(said.get("finishReason"))
            return (
                f"chat {model}",
                CLIENT,
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": vendor,
                    "gen_ai.system": vendor,  # what the attribute above was called until version 1.37
                    "gen_ai.request.model": model,
                    "gen_ai.response.model": model if reason is not None else None,
                    "gen_ai.response.finish_reasons": None if reason is None else [reason],
                    "gen_ai.usage.input_tokens": said.get("promptTokens"),
                    "gen_ai.usage.output_tokens": said.get("completionTokens"),
                    "gen_ai.usage.cache_read.input_tokens": said.get("cachedTokens"),
                    "error.type": error,
                    "understudy.attempts": said.get("attempts"),
                    "understudy.estimated": said.get("estimated"),
                    "understudy.cost_usd": in_dollars(cost) if isinstance(cost, int) else None,
                },
                error,
            )
        case "tool":
            name = _text(said.get("name"))
            error = None if said.get("ok", True) else "the tool failed"
            return (
                f"execute_tool {name}",
                INTERNAL,
                {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": name,
                    "gen_ai.tool.call.id": _text(said.get("toolCallId")),
                    "error.type": None if error is None else "_OTHER",
                },
                error,
            )
        case kind:
            plain = {name: value for name, value in said.items() if isinstance(value, int | float)}
            return kind, INTERNAL, {f"understudy.{kind}.{name}": value for name, value in plain.items()}, None


def _attributes(given: Attributes) -> list[dict[str, object]]:
    """OTLP's list of keys and values, without those that are None."""
    return [{"key": key, "value": _value(value)} for key, value in given.items() if value is not None]


def _value(value: Any) -> dict[str, object]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}  # 64 bits, which JSON's numbers do not have
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_value(each) for each in value]}}
        case _:
            return {"stringValue": str(value)}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _valid(identifier: str | None) -> bool:
    """Whether W3C Trace Context allows it: one of nothing but zeros means that there is none."""
    return identifier is not None and identifier.strip("0") != ""


def _digest(of: str, size: int) -> str:
    return hashlib.blake2b(of.encode(), digest_size=size).hexdigest()


def _nanos(at: datetime) -> str:
    return str((at - _EPOCH) // timedelta(microseconds=1) * 1000)
