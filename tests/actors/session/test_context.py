"""What the model is told of a conversation."""

from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.agents.config import AgentConfig
from understudy.actors.errors import ContextTooLarge
from understudy.actors.inference.messages import ChatMessage, ToolSpec
from understudy.actors.session.context import MEMORY, SHORT_DESCRIPTION, Material, fit, weight
from understudy.storage.records import Message, Role, SessionKey, ToolCall

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CONFIG = AgentConfig("chad", "Chad", "", "builtin", "rehearsal", "You are Chad.")


def said(role: Role, content: str, *, status: str = "complete", calls: int = 0, answers: str | None = None) -> Message:
    tool_calls = tuple(ToolCall(f"call_{n}", "calculator", "{}") for n in range(calls))
    return Message(
        f"msg_{content[:8]}", "ses_1", "trn_1", role, content, NOW,
        status=status, tool_calls=tool_calls, tool_call_id=answers,
    )  # fmt: skip


ROOM = 400_000


def build_context(
    config: AgentConfig, history: list[Message], now: datetime, key: SessionKey | None = None
) -> tuple[ChatMessage, ...]:
    return fit(Material(config, history, now, key), ROOM).messages


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
    context = fit(Material(CONFIG, history, NOW), ROOM)
    sent = context.messages[1:]
    assert context.characters <= ROOM
    assert context.left_out + len(sent) == len(history)
    assert not sent or sent[0].role is not Role.TOOL
    assert not sent or sent[-1].content == "a"
    for before, message in zip((None, *sent), sent, strict=False):
        assert message.role is not Role.TOOL or (before is not None and before.tool_calls)
    # Nothing is left out that there was room for, as far as it could have been said whole.
    spare = ROOM - context.characters
    assert not context.left_out or spare < sum(map(weight, history[: context.left_out][-2:]))


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


TOOLS = (ToolSpec("calculator", "x" * 500, {"type": "object"}),)


def test_long_descriptions_of_tools_go_before_anything_that_was_said() -> None:
    history = [said(Role.USER, "u" * 1000), said(Role.ASSISTANT, "a" * 1000), said(Role.USER, "now")]
    material = Material(CONFIG, history, NOW, tools=TOOLS)
    whole = fit(material, ROOM)
    assert (whole.tools, whole.shortened, whole.characters) == (TOOLS, 0, whole.wanted)
    tight = fit(material, whole.wanted - 1)
    assert len(tight.tools[0].description) <= SHORT_DESCRIPTION
    assert (tight.shortened, tight.left_out, tight.wanted) == (1, 0, whole.wanted)


def test_the_least_fitting_memories_go_before_the_conversation_and_the_prompt_stays() -> None:
    config = attrs.evolve(CONFIG, system_prompt="Remember:\n{{memory}}\nThat is all.")
    known = {MEMORY: "\n".join(f"- memory {n} {'m' * 100}" for n in range(5))}
    material = Material(config, [said(Role.USER, "old"), said(Role.USER, "now")], NOW, known=known)
    tight = fit(material, fit(material, ROOM).wanted - 200)
    system = tight.messages[0].content
    assert (tight.forgotten, tight.left_out) == (2, 0)
    assert ("memory 2" in system, "memory 3" in system) == (True, False)
    assert "That is all." in system


def test_of_the_present_turn_the_question_and_the_newest_results_always_stay() -> None:
    rounds = [
        message
        for n in range(4)
        for message in (said(Role.ASSISTANT, f"round {n}", calls=1), said(Role.TOOL, "t" * 1000, answers="call_0"))
    ]
    material = Material(CONFIG, [said(Role.USER, "old"), said(Role.USER, "question"), *rounds], NOW)
    sent = fit(material, 1400).messages
    assert [m.content[:8] for m in sent[1:]] == ["question", "round 3", "tttttttt"]


def test_what_must_stay_and_does_not_fit_is_refused() -> None:
    with pytest.raises(ContextTooLarge, match=r"about \d+ tokens"):
        fit(Material(CONFIG, [said(Role.USER, "u" * 4000)], NOW), 4000)
    with pytest.raises(ContextTooLarge):
        fit(Material(CONFIG, [said(Role.USER, "u")], NOW, preface="p" * 4000), 4000)


def test_the_house_rules_come_first_and_a_summary_before_what_it_does_not_cover() -> None:
    sent = fit(Material(CONFIG, [said(Role.USER, "now")], NOW, preface="Rules.", summary="They met."), ROOM).messages
    assert sent[0].content.startswith("Rules.\n\nYou are Chad.")
    assert [m.role for m in sent] == [Role.SYSTEM, Role.USER]
    assert sent[0].content.endswith("\n\nWhat was said before, in short:\nThey met.")


def test_commands_are_never_told() -> None:
    history = [said(Role.USER, "/help", status="command"), said(Role.ASSISTANT, "…", status="command")]
    assert [m.content for m in build_context(CONFIG, [*history, said(Role.USER, "hi")], NOW)[1:]] == ["hi"]


def test_a_result_without_a_word_is_sent_since_its_call_is() -> None:
    history = [said(Role.USER, "go"), said(Role.ASSISTANT, "", calls=1), said(Role.TOOL, "", answers="call_0")]
    assert [m.role for m in build_context(CONFIG, history, NOW)[1:]] == [Role.USER, Role.ASSISTANT, Role.TOOL]
