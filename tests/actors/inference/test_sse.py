"""The event-stream parser, whatever way the bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.inference.sse import EventTooLong, SseDecoder

LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
TEXT = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), min_size=1, max_size=20)


def decode(data: bytes, cuts: list[int]) -> list[bytes]:
    decoder = SseDecoder()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    events: list[bytes] = []
    for start, end in itertools.pairwise(edges):
        events += decoder.feed(data[start:end])
    return events + decoder.flush()


@given(
    payloads=st.lists(TEXT, max_size=8), ends=LINE_ENDS, space=st.sampled_from(["", " "]), cuts=st.lists(st.integers(0))
)
def test_events_survive_any_cut_any_line_end_and_a_missing_space(
    payloads: list[str], ends: str, space: str, cuts: list[int]
) -> None:
    noise = f": keep-alive{ends}event: message{ends}id: 7{ends}"
    stream = "".join(f"{noise}data:{space}{payload}{ends}{ends}" for payload in payloads).encode()
    # Without a space in the framing, a payload that begins with one loses it: the standard says so.
    expected = [(payload.removeprefix(" ") if not space else payload).encode() for payload in payloads]
    assert decode(stream, cuts) == expected


@given(cuts=st.lists(st.integers(0)))
def test_data_lines_of_one_event_are_joined_by_a_line_feed(cuts: list[int]) -> None:
    assert decode(b"data: a\r\ndata:b\r\n\r\n", cuts) == [b"a\nb"]


def test_several_events_of_one_read_come_together() -> None:
    assert SseDecoder().feed(b"data: 1\n\ndata: 2\n\ndata: 3") == [b"1", b"2"]


def test_an_event_without_its_blank_line_is_found_at_the_end() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: [DONE]") == []
    assert decoder.flush() == [b"[DONE]"]
    assert decoder.flush() == []


def test_comments_and_blank_lines_alone_are_no_events() -> None:
    assert SseDecoder().feed(b": OPENROUTER PROCESSING\n\n\n\n: ping\n\n") == []


def test_an_endless_line_is_refused() -> None:
    decoder = SseDecoder(limit=1000)
    decoder.feed(b"x" * 900)
    with pytest.raises(EventTooLong):
        decoder.feed(b"x" * 101)


def test_an_endless_event_of_short_lines_is_refused() -> None:
    decoder = SseDecoder(limit=1000)
    line = b"data: " + b"x" * 100 + b"\n"
    decoder.feed(line * 10)
    with pytest.raises(EventTooLong):
        decoder.feed(line)
