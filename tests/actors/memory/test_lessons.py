"""What is worth remembering by plain rules, what says the same, and what a question is taken for."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cost import least_seconds
from tests.support.storage import START
from understudy.actors.memory.boosting import BOOSTS, boost_for
from understudy.actors.memory.lessons import Heard, Noted, adds_nothing, profile_patch, read_heard, same, sift, without
from understudy.actors.memory.rules import listen
from understudy.storage.records import MemoryCategory, MemoryEntry, MemoryTier

D, N, R, S = MemoryCategory.DECISION, MemoryCategory.NOTE, MemoryCategory.OUTCOME, MemoryCategory.STRATEGY

TEXTS = st.lists(
    st.sampled_from(["I like tea", "i like TEA!", "I like green tea", "ship it", "Ship it.", "?"]), max_size=8
)


def entry(content: str) -> MemoryEntry:
    return MemoryEntry(content, "ws", "usr", MemoryTier.DAILY, START.date(), N, content, START)


@pytest.mark.parametrize(
    ("said", "content", "category"),
    [
        ("I like tea.", "I like tea", N),
        ("what is 23*19, and remember that I like tea", "I like tea", N),
        ("Well, I really prefer trains to planes!", "Well, I really prefer trains to planes", N),
        ("We decided to deploy on Tuesdays.", "We decided to deploy on Tuesdays", D),
        ("Decision: no meetings on Fridays", "Decision: no meetings on Fridays", D),
        ("It turned out that the cache was cold.", "It turned out that the cache was cold", R),
        ("Our plan is to hire two people.", "Our plan is to hire two people", S),
    ],
)
def test_a_sentence_that_says_so_is_remembered_as_it_was_said(
    said: str, content: str, category: MemoryCategory
) -> None:
    assert listen([said]).daily == [Noted(content, category)]


@pytest.mark.parametrize(
    "said",
    [
        "What do I like?",
        "do we have a plan?",
        "Tell me what I like",
        "The weather is fine.",
        "I like my password to be hunter2",
        "I like " + "x" * 400,
        "",
        "\n\n",
    ],
)
def test_questions_secrets_and_small_talk_are_not(said: str) -> None:
    assert listen([said]).nothing


def test_a_profile_is_heard_from_plain_words() -> None:
    said = ["Hi! My name is Mira Okafor. I live in New York.", "I work for Acme. I am a software engineer, you know."]
    assert listen(said).profile == {
        "name": "Mira Okafor",
        "home": "New York",
        "employer": "Acme",
        "occupation": "software engineer",
    }
    assert listen(["I am a bit tired.", "my name is secret"]).profile == {}


def test_names_and_how_they_hang_together_are_heard() -> None:
    heard = listen(["Anna works for Acme. Orion is part of Project Sky."])
    assert [(thing.name, thing.type.value, thing.fact) for thing in heard.entities] == [
        ("Anna", "person", "Anna works for Acme"),
        ("Acme", "team", "Anna works for Acme"),
        ("Orion", "concept", "Orion is part of Project Sky"),
        ("Project Sky", "concept", "Orion is part of Project Sky"),
    ]
    assert [(tie.source, tie.relation.value, tie.target) for tie in heard.relations] == [
        ("Anna", "plays_for", "Acme"),
        ("Orion", "part_of", "Project Sky"),
    ]


def test_steps_that_follow_each_other_are_a_procedure() -> None:
    (habit,) = listen(
        ["To release a version, first run the tests, then tag the commit and finally publish it."]
    ).procedures
    assert (habit.trigger, habit.steps) == ("release a version", ["run the tests", "tag the commit", "publish it"])
    assert listen(["To be or not to be, first of all."]).procedures == []


def test_reading_much_takes_little_time() -> None:
    begun = time.process_time()
    listen(["I like tea and A B C D works for " * 2000, "a" * 100_000, "To x, first " + "then " * 5000])
    listen([("A-" * 140 + ". ") * 70])
    assert time.process_time() - begun < 2


def test_comparing_a_day_of_long_texts_takes_little_time() -> None:
    rng, words = random.Random(7), [f"word{number}" for number in range(90)]
    texts = [" ".join(rng.sample(words, 70)) for _ in range(150)]
    begun = time.process_time()
    assert sift([entry(text) for text in texts], texts[:50]) == [entry(text) for text in texts[50:]]
    sift([entry(f"{at}{'x' * 1990}") for at in range(50)], ["y" * 1990])
    assert time.process_time() - begun < 5  # letter by letter it is minutes


def test_of_long_texts_the_words_are_compared() -> None:
    long = (
        "we agreed that the release goes out on Tuesday once the tests of the storage have been green for a whole day"
    )
    assert same(f"{long} and night", f"{long} and night too")
    assert not same(f"{long} and night", f"{long} but Anna wants to wait until the week after that one instead")


@given(TEXTS, TEXTS)
def test_what_is_sifted_says_nothing_twice_and_loses_nothing(texts: list[str], known: list[str]) -> None:
    kept = [each.content for each in sift([entry(text) for text in texts], known)]
    for at, text in enumerate(kept):
        assert not any(adds_nothing(text, other) for other in (*known, *kept[:at]))
    for text in texts:
        assert any(adds_nothing(text, other) for other in (*known, *kept))
    assert sift([entry(text) for text in kept], []) == [entry(text) for text in kept]


@settings(max_examples=25)
@given(st.text(max_size=40), st.text(max_size=40))
def test_to_say_the_same_is_mutual_and_everything_says_what_it_says(one: str, other: str) -> None:
    assert same(one, other) == same(other, one)
    assert same(one, one)


def test_what_is_nearly_the_same_is_the_same() -> None:
    assert same("I like green tea", "I like green teas.")
    assert adds_nothing("like tea", "I like tea with milk")
    assert not adds_nothing("I like tea with milk", "like tea")
    assert not same("I like tea", "I like coffee")
    assert not same("Deploy on Tuesday", "Never deploy on Friday")


def test_what_a_tool_wrote_down_is_not_heard_again() -> None:
    heard = Heard([Noted("I like tea"), Noted("We decided to ship", D)])
    assert without(heard, ["i like tea."]).daily == [Noted("We decided to ship", D)]


@pytest.mark.parametrize(
    ("answer", "heard"),
    [
        ('```json\n{"daily": [{"content": "a", "category": "decision"}]}\n```', Heard([Noted("a", D)])),
        ("{}", Heard()),
        ('{"daily": [], "other": 1}', Heard()),
        ("nothing to remember", None),
        ('{"daily": [{"content": ""}]}', None),
        ('{"daily": "a"}', None),
        ('{"daily": [' + ", ".join(['{"content": "a"}'] * 9) + "]}", None),
        ('{"relations": [{"source": "a", "relation": "loves", "target": "b"}]}', None),
        ("}{", None),
        ("{" * 2000 + "}" * 2000, None),
    ],
)
def test_a_models_answer_counts_only_if_it_is_what_was_asked_for(answer: str, heard: Heard | None) -> None:
    assert read_heard(answer) == heard


def test_a_model_can_add_to_a_profile_and_take_nothing_away() -> None:
    assert profile_patch(Heard(profile={"name": "Mira", "home": None, "job": "", "likes": ["tea"]})) == {
        "name": "Mira",
        "likes": ["tea"],
    }


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Why does it crash with this traceback?", "debugging"),
        ("Tell me about what is known about Orion", "research"),
        ("Should we use tea? What are the pros and cons", "debate"),
        ("What do I like?", "general"),
        ("the prefix of a debugger", "general"),
        ("", "general"),
    ],
)
def test_the_kind_of_a_question_is_told_by_its_phrases(question: str, kind: str) -> None:
    assert boost_for(question).name == kind


def test_telling_the_kind_of_a_question_takes_no_time() -> None:
    question = "error research should we " * 1000
    assert least_seconds(lambda: boost_for(question), times=20) < 0.02  # it is about 0.1 ms
    assert {boost.name for boost in BOOSTS} == {"debugging", "research", "debate"}
