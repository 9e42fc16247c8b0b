"""Running what a model asks for."""

import logging

import pytest
import trio
from trio.testing import MockClock

from tests.support.storage import START
from understudy.actors.tools.acting import executed
from understudy.actors.tools.messages import ToolActed, ToolContext, ToolRan
from understudy.actors.tools.tool import Arguments, Tool, ToolFailed
from understudy.actors.tools.toolbox import OUTPUT_LIMIT, Toolbox
from understudy.storage.records import ToolCall

CONTEXT = ToolContext("ws", "usr", "chad", "ses", "trn")


class Echo(Arguments, frozen=True):
    text: str
    times: int = 1


async def echo(arguments: Echo, context: ToolContext) -> str:
    assert context is CONTEXT
    return arguments.text * arguments.times


async def sleep(arguments: Echo, context: ToolContext) -> str:
    await trio.sleep(float(arguments.text))
    return "slept"


async def refuse(arguments: Echo, context: ToolContext) -> str:
    raise ToolFailed("not today")


async def crash(arguments: Echo, context: ToolContext) -> str:
    raise ZeroDivisionError("secret detail")


BOX = Toolbox(
    [
        Tool("echo", "says it again", Echo, echo),
        Tool("sleep", "sleeps", Echo, sleep, timeout=5, serial=True),
        Tool("refuse", "never does it", Echo, refuse),
        Tool("crash", "is broken", Echo, crash),
    ]
)


def call(name: str, arguments: str = '{"text":"a"}') -> ToolCall:
    return ToolCall("call_1", name, arguments)


async def test_a_call_gives_the_tools_text() -> None:
    result = await BOX.run(call("echo", '{"text":"ab","times":2}'), CONTEXT)
    assert (result.ok, result.content, result.call_id, result.name) == (True, "abab", "call_1", "echo")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"text":1}', "Expected `str`, got `int` - at `$.text`"),
        ("{}", "missing required field `text`"),
        ('{"text":"a","color":"red"}', "unknown field `color`"),
        ("[]", "Expected `object`, got `array`"),
        ("{", "not valid JSON"),
        ("", "missing required field `text`"),
        ('{"text":"\\ud800"}', "not valid JSON"),
    ],
)
async def test_bad_arguments_are_a_result_that_names_the_field(arguments: str, words: str) -> None:
    result = await BOX.run(call("echo", arguments), CONTEXT)
    assert not result.ok
    assert words in result.content


async def test_an_unknown_tool_is_a_result_that_names_the_known_ones() -> None:
    result = await BOX.run(call("rm"), CONTEXT)
    assert not result.ok
    assert result.content == "there is no tool 'rm' here; there are: echo, sleep, refuse, crash"


async def test_a_tool_that_the_agent_may_not_use_does_not_run() -> None:
    result = await BOX.run(call("echo"), CONTEXT, allowed=("sleep",))
    assert not result.ok
    assert result.content == "there is no tool 'echo' here; there are: sleep"


async def test_a_tools_refusal_is_its_result() -> None:
    result = await BOX.run(call("refuse"), CONTEXT)
    assert (result.ok, result.content) == (False, "not today")


async def test_a_tools_bug_is_a_result_without_its_details_and_a_log_entry_with_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        result = await BOX.run(call("crash"), CONTEXT)
    assert not result.ok
    assert "secret" not in result.content
    assert "secret detail" in caplog.text


async def test_a_slow_tool_is_stopped_and_its_time_told(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        result = await BOX.run(call("sleep", '{"text":"99"}'), CONTEXT)
    assert (result.ok, result.duration_ms) == (False, 5000)
    assert result.content == "sleep took longer than 5 s and was stopped"


async def test_cancelling_the_caller_cancels_the_tool(autojump_clock: MockClock) -> None:
    with trio.fail_after(60), trio.move_on_after(1) as scope:
        await BOX.run(call("sleep", '{"text":"4"}'), CONTEXT)
    assert scope.cancelled_caught
    assert trio.current_time() < 2


async def test_long_output_is_cut_at_16_kb_between_characters_and_says_so() -> None:
    result = await BOX.run(call("echo", '{"text":"\u4e16","times":20000}'), CONTEXT)
    assert result.ok
    assert result.truncated
    assert len(result.content.encode()) <= OUTPUT_LIMIT
    assert result.content.endswith("\n[cut: the first 16 KB of 59 KB]")
    assert "\ufffd" not in result.content


async def test_runs_are_reported_but_not_calls_of_unknown_tools() -> None:
    seen: list[ToolRan] = []
    box = Toolbox([Tool("echo", "", Echo, echo), Tool("refuse", "", Echo, refuse)], report=seen.append)
    for name in ("echo", "refuse", "rm"):
        await box.run(call(name), CONTEXT)
    assert [(one.name, one.ok) for one in seen] == [("echo", True), ("refuse", False)]


def test_specs_are_those_asked_for_and_carry_a_flat_schema() -> None:
    assert [spec.name for spec in BOX.specs()] == ["echo", "sleep", "refuse", "crash"]
    (spec,) = BOX.specs(("echo", "unknown"))
    assert spec.parameters == {
        "type": "object",
        "properties": {"text": {"type": "string"}, "times": {"type": "integer", "default": 1}},
        "required": ["text"],
        "additionalProperties": False,
    }
    assert BOX.is_serial("sleep")
    assert not BOX.is_serial("echo")


async def test_of_a_tool_that_acts_a_witness_is_told_however_the_run_ended(autojump_clock: MockClock) -> None:
    seen: list[ToolActed] = []
    box = Toolbox(
        [
            Tool("echo", "", Echo, echo, acts=True),
            Tool("look", "", Echo, echo),
            Tool("refuse", "", Echo, refuse, acts=True),
            Tool("sleep", "", Echo, sleep, timeout=5, acts=True),
        ],
        witness=seen.append,
    )
    for name, arguments in (
        ("echo", '{"text":"a"}'),
        ("look", '{"text":"a"}'),
        ("nobody", "{}"),
        ("echo", "{}"),  # it was never run
        ("refuse", '{"text":"a"}'),
        ("sleep", '{"text":"9"}'),
    ):
        await box.run(call(name, arguments), CONTEXT)
    with trio.move_on_after(2):
        await box.run(call("sleep", '{"text":"9"}'), CONTEXT)
    assert [(act.name, act.ok, act.duration_ms) for act in seen] == [
        ("echo", True, 0),
        ("refuse", False, 0),
        ("sleep", False, 5000),
        ("sleep", False, 2000),
    ]
    assert {act.context for act in seen} == {CONTEXT}
    (line, *_) = (executed(act, START) for act in seen)
    assert (line.event, line.severity, line.uid, line.workspace_id, line.session_id) == (
        "tool.executed",
        "low",
        "usr",
        "ws",
        "ses",
    )
    assert line.metadata == {"tool": "echo", "ok": True, "durationMs": 0, "turn": "trn"}
