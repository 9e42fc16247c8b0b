"""How what was found is put in order, how it fades, and what texts are alike."""

from datetime import timedelta

import attrs
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


def test_the_first_of_what_was_said_fits_as_well_as_can_be_and_the_graph_is_a_bonus() -> None:
    a, b, said = entry("a"), entry("b"), entry("s", tier=MemoryTier.SESSION)
    fused = fuse({"bm25": [a], "vector": [a], "graph": [a, b]}, [said])
    assert [(each.entry.id, each.score, each.sources) for each in fused] == [
        ("a", 1, ("bm25", "vector", "graph")),
        ("s", 1, ("bm25",)),
        ("b", pytest.approx(61 / 62 / 2, abs=1e-4), ("graph",)),
    ]


def test_a_tier_that_weighs_more_comes_before_and_no_score_is_above_1() -> None:
    daily, shared = entry("daily"), entry("shared", tier=MemoryTier.WORKSPACE)
    found = {"bm25": [daily, shared], "vector": [daily, shared]}
    fused = fuse(found, weights={MemoryTier.WORKSPACE: 1.2})
    assert [(each.entry.id, each.score) for each in fused] == [("shared", 1), ("daily", 1)]


def test_a_text_that_several_entries_have_is_there_once_as_the_best_of_them() -> None:
    one, other = entry("one"), attrs.evolve(entry("other"), content="one")
    assert [each.entry.id for each in fuse({"bm25": [other, one], "vector": [other]})] == ["other"]


@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True), max_size=3), st.sampled_from("abcdef"), st.data())
def test_to_be_found_earlier_never_makes_an_entry_come_later(
    lists: list[list[str]], name: str, data: st.DataObject
) -> None:
    found = {str(number): [entry(each) for each in names] for number, names in enumerate(lists)}
    places = [source for source, entries in found.items() if any(each.id == name for each in entries[1:])]
    if not places:
        return
    source = data.draw(st.sampled_from(places))
    raised = list(found[source])
    at = next(number for number, each in enumerate(raised) if each.id == name)
    raised[at - 1], raised[at] = raised[at], raised[at - 1]

    def rank(of: dict[str, list[MemoryEntry]]) -> int:
        return [each.entry.id for each in fuse(of)].index(name)

    assert rank({**found, source: raised}) <= rank(found)


@given(st.floats(0, 400), st.floats(0, 1), st.sampled_from([MemoryTier.GRAPH, MemoryTier.PROCEDURAL]))
def test_strength_falls_by_three_per_cent_a_day_without_use(idle: float, weight: float, tier: MemoryTier) -> None:
    used = attrs.evolve(entry("a", age=500, tier=tier, weight=weight), touched_at=START - timedelta(days=idle))
    assert weight_at(used, START) == pytest.approx(weight * 0.97**idle, abs=1e-4)
    assert weight_at(used, START + timedelta(days=1)) <= weight_at(used, START)


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
