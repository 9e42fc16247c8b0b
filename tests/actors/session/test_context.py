"""What the model is told of a conversation."""

from datetime import UTC, datetime

import attrs
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.agents.config import AgentConfig
from understudy.actors.session import context
from understudy.actors.session.context import build_context
from understudy.storage.records import Message, Role, SessionKey, ToolCall

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CONFIG = AgentConfig("chad", "Chad", "", "builtin", "rehearsal", "You are Chad.")


def said(role: Role, content: str, *, status: str = "complete", calls: int = 0, answers: str | None = None) -> Message:
    tool_calls = tuple(ToolCall(f"call_{n}", "calculator", "{}") for n in range(calls))
    return Message(
        f"msg_{content[:8]}", "ses_1", "trn_1", role, content, NOW,
        status=status, tool_calls=tool_calls, tool_call_id=answers,
    )  # fmt: skip


def test_the_system_prompt_comes_first_with_the_date_and_the_history_follows_in_order() -> None:
    built = build_context(CONFIG, [said(Role.USER, "hi"), said(Role.ASSISTANT, "hello")], NOW)
    assert [m.role for m in built] == [Role.SYSTEM, Role.USER, Role.ASSISTANT]
    assert built[0].content == "You are Chad.\n\nToday is Saturday, 21 November 2026."


def test_what_was_taken_back_is_not_sent_and_a_partial_answer_is() -> None:
    history = [
        said(Role.USER, "a", status="rolled_back"),
        said(Role.ASSISTANT, "b", status="rolled_back"),
        said(Role.USER, "c"),
        said(Role.ASSISTANT, "half", status="cancelled"),
    ]
    assert [m.content for m in build_context(CONFIG, history, NOW)[1:]] == ["c", "half"]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 150_000)), max_size=30))
def test_however_long_the_history_the_newest_part_that_fits_is_sent_and_no_tool_result_stands_alone(
    turns: list[tuple[bool, int]],
) -> None:
    history: list[Message] = []
    for with_tool, size in turns:
        history.append(said(Role.USER, "u" * max(size, 1)))
        if with_tool:
            history.append(said(Role.ASSISTANT, "", calls=1))
            history.append(said(Role.TOOL, "t" * max(size, 1), answers="call_0"))
        history.append(said(Role.ASSISTANT, "a"))
    sent = build_context(CONFIG, history, NOW)[1:]
    assert sent == build_context(CONFIG, history[len(history) - len(sent) :], NOW)[1:]
    assert not sent or sent[0].role is not Role.TOOL
    assert not sent or sent[-1].content == "a"
    room = context.MAX_CHARACTERS + 150_000
    assert sum(len(m.content) for m in sent) <= room


def test_a_prompt_says_who_where_and_when_it_is() -> None:
    prompt = (
        "{{agent.displayName}} ({{agent.id}}) helps {{user.id}} of {{workspace.displayName}} ({{workspace.id}}) on "
        "{{date}} at {{time}}, {{timezone}}.{{#if user.profile.name}} Hello!{{/if}}"
    )
    config = attrs.evolve(CONFIG, system_prompt=prompt, timezone="Asia/Tokyo", workspace_name="Acme")
    late = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    (system,) = build_context(config, [], late, SessionKey("ws_1", "usr_1", "chad", "chat", "main"))
    assert system.content == (
        "Chad (chad) helps usr_1 of Acme (ws_1) on Sunday, 22 November 2026 at 08:30, Asia/Tokyo."
    )
