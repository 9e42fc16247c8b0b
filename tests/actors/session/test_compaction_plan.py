"""Which part of a conversation is summarised, and by what."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.actors.session.stage import CHAD
from understudy.actors.session.compaction import (
    KEPT,
    KEPT_SHARE,
    LONGEST_SUMMARY,
    extract,
    oldest_part,
    summary_request,
)
from understudy.actors.session.context import weight
from understudy.storage.records import Message, Role, ToolCall


def said(role: Role, content: str = "x", *, calls: int = 0) -> Message:
    tool_calls = tuple(ToolCall(f"c{n}", "t", "{}") for n in range(calls))
    return Message("m", "s", "t", role, content, datetime(2026, 11, 21, tzinfo=UTC), tool_calls=tool_calls)


def history(turns: list[tuple[int, int]]) -> list[Message]:
    found = []
    for calls, size in turns:
        found.append(said(Role.USER, "u" * size))
        if calls:
            found.append(said(Role.ASSISTANT, "", calls=calls))
            found += [said(Role.TOOL, "t" * size) for _ in range(calls)]
        found.append(said(Role.ASSISTANT, "a" * size))
    return found


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 2000)), max_size=20), st.booleans())
def test_what_stays_is_little_whole_and_never_less_than_the_present_turn(
    turns: list[tuple[int, int]], running: bool
) -> None:
    messages, room = history(turns), 10_000
    if running:
        messages.append(said(Role.USER, "now"))
    part = oldest_part(messages, room, running=running)
    kept = messages[len(part) :]
    if part:
        assert len(kept) <= KEPT or running
        assert sum(map(weight, kept)) <= room * KEPT_SHARE or (running and len(kept) == 1)
        assert not kept or kept[0].role is not Role.TOOL
    if running:
        assert kept[-1].content == "now"


@given(st.lists(st.text(max_size=500), max_size=80), st.text(max_size=9000) | st.none())
def test_an_extract_has_a_bound_and_begins_with_what_was_known(contents: list[str], previous: str | None) -> None:
    summary = extract(previous, [said(Role.USER, content) for content in contents])
    assert len(summary) <= LONGEST_SUMMARY
    assert summary.startswith(((previous or "")[:100]).rstrip())


def test_the_summariser_is_given_what_fits_and_the_summary_before() -> None:
    request = summary_request(CHAD, "They met.", [said(Role.USER, "u" * 5000) for _ in range(30)], 8000)
    asked = request.messages[1].content
    assert asked.startswith("Summary of what came before:\nThey met.")
    assert asked.count("User: ") == 30
    assert len(asked) < 9000
    assert request.max_output_tokens == 2048
    assert request.tools == ()


def test_a_summary_is_worth_its_price() -> None:
    short = history([(0, 20)] * 10)
    assert oldest_part(short, 10_000, running=False) == ()
    assert len(oldest_part(short, 2_000, running=False)) == 10
    many = history([(0, 20)] * 60)
    assert len(oldest_part(many, 1_000_000, running=False)) == 120 - KEPT
