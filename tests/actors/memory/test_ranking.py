"""How what was found is put in order, how it fades, and what texts are alike."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.storage import START
from understudy.actors.memory.embedder import DIMENSIONS, LEAST_LIKENESS, embed
from understudy.actors.memory.merging import merge_patch
from understudy.actors.memory.ranking import LEAST_WEIGHT, faded_before, fuse, weight_at
from understudy.storage.records import MemoryCategory, MemoryEntry, MemoryTier


def entry(name: str, *, age: float = 0, tier: MemoryTier = MemoryTier.DAILY, weight: float = 1.0) -> MemoryEntry:
    written = START - timedelta(days=age)
    return MemoryEntry(name, "ws", "usr", tier, written.date(), MemoryCategory.NOTE, name, written, weight)


def likeness(one: str, other: str) -> float:
    return sum(a * b for a, b in zip(embed(one), embed(other), strict=True))


def test_what_every_source_puts_first_has_all_and_each_place_counts_by_its_rank() -> None:
    a, b, c = entry("a"), entry("b"), entry("c")
    fused = fuse({"bm25": [a, b], "vector": [a, c, b]})
    assert [(ranked.entry.id, ranked.sources) for ranked in fused] == [
        ("a", ("bm25", "vector")),
        ("b", ("bm25", "vector")),
        ("c", ("vector",)),
    ]
    assert fused[0].score == 1
    assert fused[1].score == pytest.approx((1 / 62 + 1 / 63) * 61 / 2, abs=1e-4)
    assert fused[2].score == pytest.approx(61 / 62 / 2, abs=1e-4)


def test_one_source_alone_can_give_all_and_none_gives_nothing() -> None:
    assert [ranked.score for ranked in fuse({"bm25": [entry("a")]})] == [1]
    assert fuse({}) == fuse({"bm25": (), "vector": ()}) == []


def test_of_two_that_fit_alike_the_newer_comes_first() -> None:
    old, new = entry("old", age=3), entry("new", age=1)
    assert [ranked.entry.id for ranked in fuse({"bm25": [old], "vector": [new]})] == ["new", "old"]


@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True), max_size=3))
def test_scores_are_between_0_and_1_and_fall(lists: list[list[str]]) -> None:
    fused = fuse({str(number): [entry(name) for name in names] for number, names in enumerate(lists)})
    scores = [ranked.score for ranked in fused]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    assert {ranked.entry.id for ranked in fused} == {name for names in lists for name in names}


@pytest.mark.parametrize(("age", "weight"), [(0, 1), (7, 1), (8, 0.88), (13, 0.28), (15.5, 0), (400, 0), (-1, 1)])
def test_a_daily_entry_keeps_its_weight_for_a_week_and_has_none_after_about_sixteen_days(
    age: float, weight: float
) -> None:
    assert weight_at(entry("a", age=age), START) == pytest.approx(weight, abs=0.01)
    assert weight_at(entry("a", age=age, tier=MemoryTier.NOTES), START) == 1


@given(st.floats(0, 40), st.floats(0, 1))
def test_what_is_left_out_as_faded_weighs_too_little_whatever_it_weighed(age: float, weight: float) -> None:
    faded = entry("a", age=age, weight=weight)
    if faded.created_at < faded_before(START):
        assert weight_at(faded, START) <= LEAST_WEIGHT


def test_texts_that_share_words_or_parts_of_them_are_alike_and_others_are_not() -> None:
    assert likeness("I like green tea", "I like green tea!") == pytest.approx(1)
    assert likeness("what do I like?", "I like tea") > 0.3
    assert likeness("deployment", "Deployments") > 0.5
    assert likeness("Grünkohl", "grünkohl") == pytest.approx(1)
    assert likeness("the quarterly report", "my dog barks") < LEAST_LIKENESS
    assert embed("…!?") == (0.0,) * DIMENSIONS


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_is_applied_as_its_standard_says(target: object, patch: object, result: object) -> None:
    assert merge_patch(target, patch) == result
