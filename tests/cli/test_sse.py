"""The decoder of server-sent events, against any cutting of the stream."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from understudy.cli.sse import EventDecoder, ServerEvent

EVENTS = st.lists(
    st.builds(
        ServerEvent,
        type=st.sampled_from(["content", "done", "message"]),
        data=st.text().map(lambda text: json.dumps({"content": text}, ensure_ascii=False)),
        id=st.integers(1, 10**6).map(lambda seq: f"ses_x:{seq}"),
    ),
    max_size=6,
)


def decode(stream: bytes, cuts: list[int]) -> list[ServerEvent]:
    decoder = EventDecoder()
    found: list[ServerEvent] = []
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        found.extend(decoder.feed(stream[start:end]))
    return found


@given(EVENTS, st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 10**4), max_size=8))
def test_events_come_out_as_they_went_in_wherever_the_stream_is_cut(
    events: list[ServerEvent], newline: str, cuts: list[int]
) -> None:
    lines = [f"event: {e.type}{newline}id: {e.id}{newline}data: {e.data}{newline}{newline}" for e in events]
    # A comment first: the decoder holds a trailing CR back until it knows whether an LF follows.
    stream = "".join([f": ping{newline}{newline}", *lines, ": end\n"]).encode()
    assert decode(stream, cuts) == events


def test_an_event_that_is_never_finished_is_never_given() -> None:
    assert decode(b"event: content\ndata: {}\n", []) == []


def test_comments_and_unknown_fields_say_nothing_and_an_id_is_of_its_own_event() -> None:
    stream = b"\xef\xbb\xbf: ping\n\nid: 1\ndata: a\n\nretry: 5\nfuture: x\ndata:b\ndata: c\n\nid: 2\n\n"
    assert decode(stream, [1, 2, 20]) == [ServerEvent("message", "a", "1"), ServerEvent("message", "b\nc", "")]


def test_a_line_separator_inside_json_does_not_end_the_line() -> None:
    text = "before\u2028after\x85end"
    stream = f'data: {{"content": "{text}"}}\n\n'.encode()
    assert [event.data for event in decode(stream, [])] == [f'{{"content": "{text}"}}']
