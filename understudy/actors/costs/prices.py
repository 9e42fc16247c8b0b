"""What an inference costs, in whole micro-dollars. Pure.

A model without a price has no cost, which is not the same as costing nothing: it is told apart everywhere.
"""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Self

import attrs
import msgspec

from understudy.actors.inference.messages import PromptCache
from understudy.storage.records import Usage

MILLION = 1_000_000
_MOST = 10**12
"""A million dollars for a million tokens: anything dearer is a slip of the hand."""
_DATED = re.compile(r"[-@](\d{8}|\d{4}-\d{2}-\d{2})$")
_ANY = "*"


class BadPrices(Exception):
    """A price file that cannot be used; ``problems`` names each place."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@attrs.frozen
class Price:
    """Micro-dollars for a million tokens. None: as any token of the prompt."""

    prompt: int
    completion: int
    cached: int | None = None
    cache_write: int | None = None


@attrs.frozen
class Cost:
    """What an inference cost and what the provider's cache saved of it, in micro-dollars; ``micros`` None: unpriced."""

    micros: int | None
    saved: int = 0


UNPRICED = Cost(None)


@attrs.frozen
class PriceBook:
    """Prices by provider and model."""

    prices: Mapping[str, Mapping[str, Price]]

    @classmethod
    def shipped(cls) -> Self:
        """The prices that come with this version."""
        return cls.parse((resources.files(__package__) / "prices.toml").read_text(encoding="utf-8"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """A price file in TOML. Raises `BadPrices`."""
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BadPrices((f"it is no TOML: {error}",)) from None
        problems: list[str] = []
        prices = {name: _models(name, table, problems) for name, table in tables.items()}
        if problems:
            raise BadPrices(tuple(problems))
        return cls(prices)

    def under(self, other: Self) -> Self:
        """These prices where *other* has none."""
        names = self.prices.keys() | other.prices.keys()
        none: Mapping[str, Price] = {}
        return attrs.evolve(
            self, prices={name: {**self.prices.get(name, none), **other.prices.get(name, none)} for name in names}
        )

    def find(self, provider: str, model: str) -> Price | None:
        """The price of *model*: by its name, by its name without the date of its release, or its provider's ``*``."""
        models = self.prices.get(provider)
        if models is None:
            return None
        return models.get(model) or models.get(_DATED.sub("", model)) or models.get(_ANY)

    def cost(self, provider: str, model: str, usage: Usage, cache: PromptCache) -> Cost:
        """What an inference cost, rounded up: what is not free is never shown as if it were."""
        price = self.find(provider, model)
        if price is None:
            return UNPRICED
        # Counts are the provider's word: nonsense among them must not become money that we owe.
        prompt, completion = max(0, usage.prompt_tokens), max(0, usage.completion_tokens)
        read = min(max(0, cache.read), prompt)
        written = min(max(0, cache.written), prompt - read)
        cached = price.prompt if price.cached is None else price.cached
        write = price.prompt if price.cache_write is None else price.cache_write
        total = (
            (prompt - read - written) * price.prompt + read * cached + written * write + completion * price.completion
        )
        return Cost(-(-total // MILLION), read * max(0, price.prompt - cached) // MILLION)


class _Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    prompt: int
    completion: int
    cached: int | None = None
    cache_write: int | None = None


def _models(provider: str, table: object, problems: list[str]) -> dict[str, Price]:
    if not isinstance(table, dict):
        problems.append(f"{provider}: a provider is a table of models")
        return {}
    models: dict[str, Price] = {}
    for name, given in table.items():
        try:
            read = msgspec.convert(given, _Price)
        except msgspec.ValidationError as error:
            problems.append(f"{provider}.{name}: {error}")
            continue
        values = msgspec.structs.asdict(read)
        wrong = [field for field, value in values.items() if value is not None and not 0 <= value <= _MOST]
        problems.extend(f"{provider}.{name}.{field}: from 0 to {_MOST}" for field in wrong)
        models[name] = Price(**values)
    return models


def in_dollars(micros: int) -> float:
    """Micro-dollars as the dollars that people read, to six places."""
    return round(micros / MILLION, 6)
