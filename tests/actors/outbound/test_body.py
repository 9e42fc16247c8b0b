"""Response framing, held to h11's reading of the same bytes."""

import itertools
from contextlib import suppress

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.outbound.body import BadFraming, Body, ChunkedBody, ClosedBody, LengthBody, body_of


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if start < end]


def decode(body: Body, data: bytes, cuts: list[int]) -> bytes:
    found = b""
    behind = b""
    for piece in pieces(data, cuts):
        if body.done:
            behind += piece
        else:
            found += body.feed(piece)
    if body.done:
        body.rest += behind
    return found


def as_h11_reads(data: bytes) -> bytes | None:
    """The body, or None where h11 finds it broken or unfinished."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + data)
    connection.next_event()
    found = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return None
        if isinstance(event, h11.Data):
            found += event.data
        elif isinstance(event, h11.EndOfMessage):
            return found
        else:
            return None


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes]:
    parts = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    encoded = b""
    for part in parts:
        size = draw(st.sampled_from([b"%x", b"%X", b"00%x"])) % len(part)
        extension = draw(st.sampled_from([b"", b";a=b", b" ;quoted"]))
        encoded += size + extension + b"\r\n" + part + b"\r\n"
    trailer = draw(st.sampled_from([b"", b"x-sum: 1\r\n", b"a: b\r\nc: d\r\n"]))
    return encoded + b"0\r\n" + trailer + b"\r\n", b"".join(parts)


@given(chunked(), st.lists(st.integers(0)), st.binary(max_size=5))
def test_a_chunked_body_is_read_whole_however_it_is_cut_and_what_follows_is_left(
    case: tuple[bytes, bytes], cuts: list[int], behind: bytes
) -> None:
    data, expected = case
    body = ChunkedBody()
    assert decode(body, data + behind, cuts) == expected
    assert body.done
    assert body.rest == behind


@given(chunked(), st.integers(0))
def test_a_body_cut_anywhere_is_not_at_its_end(case: tuple[bytes, bytes], at: int) -> None:
    data, _ = case
    body = ChunkedBody()
    decode(body, data[: at % len(data)], [])
    assert not body.end()


@given(chunked(), st.integers(0), st.integers(0, 255))
def test_a_damaged_body_is_refused_or_read_as_h11_reads_it(case: tuple[bytes, bytes], at: int, value: int) -> None:
    data = bytearray(case[0])
    data[at % len(data)] = value
    body = ChunkedBody()
    with suppress(BadFraming):
        found = decode(body, bytes(data), [])
    if body.done:
        expected = as_h11_reads(bytes(data))
        if expected is None:  # we skip extensions and trailers without judging what stands in them
            assert b";" in data or b"x" in data or b":" in data
        else:
            assert found == expected


@pytest.mark.parametrize("size", [b"-1", b"0x5", b"+3", b"1_0", b"", b"zz", b"fffffffffffffffffff"])
def test_what_is_no_hexadecimal_size_is_refused(size: bytes) -> None:
    with pytest.raises(BadFraming):
        ChunkedBody().feed(size + b"\r\nabc\r\n")


def test_a_chunk_longer_than_its_size_is_refused() -> None:
    with pytest.raises(BadFraming, match="longer"):
        ChunkedBody().feed(b"3\r\nabcdef\r\n")


@pytest.mark.parametrize("flood", [b"0\r\n" + b"x: y\r\n" * 5000, b"1;" + b"x" * 9000])
def test_endless_trailers_and_extensions_are_refused(flood: bytes) -> None:
    with pytest.raises(BadFraming):
        ChunkedBody().feed(flood)


@given(st.binary(max_size=50), st.binary(max_size=5), st.lists(st.integers(0)))
def test_a_body_of_known_length_ends_there(content: bytes, behind: bytes, cuts: list[int]) -> None:
    body = LengthBody(len(content))
    assert decode(body, content + behind, cuts) == content
    assert body.done
    assert body.rest == behind
    assert body.end()


def test_a_body_of_unknown_length_lasts_until_the_close() -> None:
    body = ClosedBody()
    assert body.feed(b"abc") == b"abc"
    assert not body.done
    assert body.end()


def test_the_framing_is_chosen_as_the_standard_says() -> None:
    assert isinstance(body_of(200, [(b"transfer-encoding", b"chunked"), (b"content-length", b"3")]), ChunkedBody)
    assert isinstance(body_of(200, [(b"content-length", b"3")]), LengthBody)
    assert isinstance(body_of(200, []), ClosedBody)
    assert body_of(204, [(b"content-length", b"3")]).done
