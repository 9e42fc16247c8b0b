"""How a conversation looks on a terminal."""

import json

import pytest

from understudy.cli.sse import ServerEvent
from understudy.cli.transcript import Transcript, clean


def event(kind: str, seq: int = 1, **data: object) -> ServerEvent:
    return ServerEvent(kind, json.dumps(data), f"ses_1:{seq}")


def test_the_answer_alone_goes_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    transcript = Transcript()
    for shown in [
        event("session_resolved", sessionId="ses_1", isNew=True),
        event("tool_call", index=0, name="calculator", toolCallId="tc_1"),
        event("tool_call_complete", index=0, name="calculator", arguments='{"expression":"6*7"}'),
        event("tool_result", name="calculator", durationMs=3, ok=True),
        event("content", content="It is "),
        event("content", content="42."),
        event("done", content="It is 42."),
    ]:
        transcript.show(shown)
    captured = capfd.readouterr()
    assert captured.out == "It is 42.\n"
    assert captured.err.splitlines() == ['→ calculator {"expression":"6*7"}', "← calculator after 3 ms"]


def test_a_note_in_the_middle_of_an_answer_stands_on_its_own_line(capfd: pytest.CaptureFixture[str]) -> None:
    transcript = Transcript()
    transcript.show(event("content", content="half"))
    transcript.note("connection lost, resuming ...")
    transcript.show(event("content", content=" an answer"))
    transcript.show(event("error", message="the provider failed", code="PROVIDER_ERROR"))
    captured = capfd.readouterr()
    assert captured.out == "half\n an answer\n"
    assert captured.err.splitlines()[1] == "understudy: the provider failed (PROVIDER_ERROR)"


def test_who_waits_for_consent_is_told_where_to_give_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    transcript = Transcript()
    transcript.show(event("approval_requested", requestId="apr_1", name="shell_exec", arguments='{"command":"ls"}'))
    transcript.show(event("approval_decided", requestId="apr_1", status="approved"))
    asked, decided = capfd.readouterr().err.splitlines()
    assert asked.startswith('? shell_exec {"command":"ls"} waits')
    assert asked.endswith("POST /approvals/apr_1/approve or /deny")
    assert decided == "? approved"


def test_what_a_model_writes_cannot_steer_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    evil = "a\x1b]0;title\x07\x1b[2Jb\rc\x9b31m\x08d\te\n"
    assert clean(evil) == "a]0;title[2Jbc31md\te\n"
    transcript = Transcript()
    transcript.show(event("content", content=evil))
    transcript.show(event("tool_call_complete", name="x\x1b[2J", arguments="\x1b[31m"))
    captured = capfd.readouterr()
    assert "\x1b" not in captured.out + captured.err


def test_json_is_one_line_per_event(capfd: pytest.CaptureFixture[str]) -> None:
    transcript = Transcript(as_json=True)
    transcript.show(event("content", 7, content="ü"))
    line = capfd.readouterr().out
    assert json.loads(line) == {"event": "content", "id": "ses_1:7", "data": {"content": "ü"}}
