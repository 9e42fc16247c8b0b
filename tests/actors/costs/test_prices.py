"""What tokens cost."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.costs.prices import MILLION, UNPRICED, BadPrices, Cost, Price, PriceBook, in_dollars
from understudy.actors.inference.messages import PromptCache
from understudy.storage.records import Usage

amounts = st.integers(0, 10**9)
prices = st.builds(Price, amounts, amounts, st.none() | amounts, st.none() | amounts)
usages = st.builds(Usage, st.integers(0, 10**7), st.integers(0, 10**7))
caches = st.builds(PromptCache, st.integers(0, 10**7), st.integers(0, 10**7))
NO_CACHE = PromptCache()
SHIPPED = PriceBook.shipped()


def book(price: Price) -> PriceBook:
    return PriceBook({"openai": {"x": price}})


def cost(price: Price, usage: Usage, cache: PromptCache = NO_CACHE) -> int:
    micros = book(price).cost("openai", "x", usage, cache).micros
    assert micros is not None
    return micros


@given(prices, usages, caches)
def test_a_cost_is_the_exact_one_rounded_up_to_a_micro_dollar(price: Price, usage: Usage, cache: PromptCache) -> None:
    read = min(cache.read, usage.prompt_tokens)
    written = min(cache.written, usage.prompt_tokens - read)
    exact = Fraction(usage.completion_tokens * price.completion, MILLION)
    for tokens, rate in (
        (usage.prompt_tokens - read - written, price.prompt),
        (read, price.prompt if price.cached is None else price.cached),
        (written, price.prompt if price.cache_write is None else price.cache_write),
    ):
        exact += Fraction(tokens * rate, MILLION)
    assert 0 <= cost(price, usage, cache) - exact < 1


@given(prices, usages, usages)
def test_two_inferences_never_cost_less_than_one_of_their_sum(price: Price, one: Usage, other: Usage) -> None:
    together = cost(price, one + other)
    assert together <= cost(price, one) + cost(price, other) <= together + 1


@given(usages, caches)
def test_an_unknown_model_has_no_cost_instead_of_costing_nothing(usage: Usage, cache: PromptCache) -> None:
    assert SHIPPED.cost("openai", "not-yet-released", usage, cache) == UNPRICED
    assert SHIPPED.cost("nobody", "gpt-4o", usage, cache) == UNPRICED
    assert UNPRICED.micros is None


@given(usages)
def test_the_rehearsal_is_free_on_purpose(usage: Usage) -> None:
    assert SHIPPED.cost("builtin", "rehearsal", usage, PromptCache()) == Cost(0)


def test_what_the_cache_saves_is_told() -> None:
    assert SHIPPED.cost("claude", "claude-sonnet-4-5", Usage(1_000, 0), PromptCache(read=800)) == Cost(840, 2160)


@pytest.mark.parametrize("model", ["gpt-4o-2024-08-06", "gpt-4o@2024-08-06"])
def test_a_dated_release_costs_what_its_model_does(model: str) -> None:
    assert SHIPPED.find("openai", model) == SHIPPED.find("openai", "gpt-4o")


def test_a_longer_name_is_another_model() -> None:
    assert SHIPPED.find("openai", "gpt-4o-realtime") is None


def test_prices_of_ones_own_come_before_those_shipped_model_by_model() -> None:
    own = PriceBook.parse(
        '[openai]\n"gpt-4o" = { prompt = 1, completion = 2 }\n[custom]\n"*" = { prompt = 3, completion = 4 }'
    )
    both = SHIPPED.under(own)
    assert both.find("openai", "gpt-4o") == Price(1, 2)
    assert both.find("openai", "gpt-4o-mini") == SHIPPED.find("openai", "gpt-4o-mini")
    assert both.find("custom", "anything") == Price(3, 4)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("not toml", "it is no TOML"),
        ("openai = 3", "openai: a provider is a table of models"),
        ("[openai]\nx = 3", "openai.x: Expected `object`, got `int`"),
        ("[openai]\nx = { prompt = 1 }", "openai.x: Object missing required field `completion`"),
        ("[openai]\nx = { prompt = 1.5, completion = 1 }", "openai.x: Expected `int`, got `float` - at `$.prompt`"),
        ("[openai]\nx = { prompt = -1, completion = 1 }", "openai.x.prompt: from 0 to"),
        (
            "[openai]\nx = { prompt = 1, completion = 1, output = 1 }",
            "openai.x: Object contains unknown field `output`",
        ),
    ],
)
def test_a_bad_price_file_says_where(text: str, problem: str) -> None:
    with pytest.raises(BadPrices) as refused:
        PriceBook.parse(text)
    assert refused.value.problems[0].startswith(problem)


def test_all_that_is_wrong_is_said_together() -> None:
    with pytest.raises(BadPrices) as refused:
        PriceBook.parse('[openai]\nx = 1\ny = 2\n[claude]\nz = { prompt = "3", completion = 4 }')
    assert len(refused.value.problems) == 3


def test_money_is_shown_in_dollars_to_six_places() -> None:
    assert (in_dollars(1), in_dollars(2_310_000), in_dollars(0)) == (0.000001, 2.31, 0.0)
