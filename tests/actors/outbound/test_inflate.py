"""Decompression under a limit."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.outbound.inflate import BadEncoding, Inflater


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate", "identity", ""]), st.integers(1, 50))
def test_what_was_packed_comes_out_however_it_is_cut(content: bytes, encoding: str, size: int) -> None:
    packed = {"gzip": gzip.compress(content), "deflate": zlib.compress(content)}.get(encoding, content)
    inflater = Inflater(encoding)
    pieces = [inflater.feed(packed[at : at + size], 10_000) for at in range(0, len(packed), size)]
    assert b"".join(pieces) == content


def test_a_bomb_costs_no_more_memory_than_was_asked_for() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    tracemalloc.start()
    try:
        assert len(Inflater("gzip").feed(bomb, 1000)) == 1000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
def test_an_encoding_that_was_not_asked_for_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(BadEncoding, match=encoding):
        Inflater(encoding)
