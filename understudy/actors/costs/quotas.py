"""What a turn may need of which allowance. Pure: when and how much are the caller's."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self

import attrs

from understudy.actors.agents.config import AgentConfig, Quotas
from understudy.actors.costs.prices import PriceBook
from understudy.actors.errors import QuotaExceeded, TokenBudgetExceeded
from understudy.actors.inference.messages import PromptCache
from understudy.storage.records import Message, SessionKey, Usage
from understudy.storage.spending import Reservation

CONTEXT_CHARACTERS = 400_000
"""What is sent to a model at most, unless its window is known."""


@attrs.frozen
class Allowance:
    """A reservation in one allowance, what the allowance is called, and when the next one begins."""

    reservation: Reservation
    name: str
    ends: datetime
    of_user: bool = False

    def refusal(self, now: datetime) -> QuotaExceeded:
        """What the asker is told when it does not suffice."""
        kind = TokenBudgetExceeded if self.of_user else QuotaExceeded
        wait = max(1.0, (self.ends - now).total_seconds())
        return kind(f"{self.name} does not suffice for another turn", retry_after=wait)


@attrs.frozen
class Bound:
    """One quota of an agent in a workspace, now: ``scope`` is its counter's, ``most`` is of tokens or micro-dollars."""

    name: str
    scope: str
    starts: datetime
    ends: datetime
    most: int
    money: bool = False


@attrs.frozen
class Beginnings:
    """When the present hour, day and month of UTC began."""

    hour: datetime
    day: datetime
    month: datetime

    @classmethod
    def at(cls, now: datetime) -> Self:
        """Those of a time in UTC."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        day = hour.replace(hour=0)
        return cls(hour, day, day.replace(day=1))


def bounds(quotas: Quotas, workspace_id: str, agent_id: str, *, now: datetime) -> tuple[Bound, ...]:
    """The quotas that there are, for the hour and the day of *now* (UTC)."""
    began = Beginnings.at(now)
    found: list[Bound] = []

    def bound(name: str, starts: datetime, lasts: timedelta, most: int | None, *, money: bool = False) -> None:
        if most is not None:
            scope = f"agent/{name}/{workspace_id}/{agent_id}"
            found.append(Bound(name, scope, starts, starts + lasts, most, money))

    bound("tokens-per-hour", began.hour, timedelta(hours=1), quotas.tokens_per_hour)
    bound("tokens-per-day", began.day, timedelta(days=1), quotas.tokens_per_day)
    bound("cost-per-day", began.day, timedelta(days=1), quotas.micros_per_day, money=True)
    return tuple(found)


def allowances(
    config: AgentConfig,
    key: SessionKey,
    history: Sequence[Message],
    question: str,
    *,
    now: datetime,
    prices: PriceBook,
    user_monthly: int | None,
    beside: int = 0,
    most: int = CONTEXT_CHARACTERS,
) -> tuple[Allowance, ...]:
    """What one inference over the whole conversation and the longest answer would need; none when nothing is limited.

    Later inferences of the turn are not foreseen: they are paid when it ends, so that a turn may take its allowance
    beyond the limit, by itself only. *beside* are characters that are sent beside the conversation and the agent's
    prompt; no more than *most* are sent in all. *now* is UTC, and so are hours, days and months.
    """
    if user_monthly is None and not config.quotas.limited:
        return ()
    usage = _estimate(config, history, len(question) + beside, most)
    return needs(config, key, usage, now=now, prices=prices, user_monthly=user_monthly)


def needs(
    config: AgentConfig,
    key: SessionKey,
    usage: Usage,
    *,
    now: datetime,
    prices: PriceBook,
    user_monthly: int | None,
) -> tuple[Allowance, ...]:
    """What one inference of that *usage* takes of which allowance; none when nothing is limited. *now* is UTC."""
    quotas = config.quotas
    if user_monthly is None and not quotas.limited:
        return ()
    cost = prices.cost(config.provider, config.model_id, usage, PromptCache()).micros or 0
    tokens, found = usage.total_tokens, []
    for each in bounds(quotas, key.workspace_id, key.agent_id, now=now):
        reservation = Reservation(each.scope, each.starts, cost if each.money else tokens, each.most, each.money)
        found.append(Allowance(reservation, f"the agent's quota of {each.name.replace('-', ' ')}", each.ends))
    if user_monthly is not None:
        month = Beginnings.at(now).month
        following = (month + timedelta(days=31)).replace(day=1)
        reservation = Reservation(f"user/tokens-per-month/{key.uid}", month, tokens, user_monthly)
        found.append(Allowance(reservation, "your token budget of this month", following, of_user=True))
    return tuple(found)


def _estimate(config: AgentConfig, history: Sequence[Message], beside: int, most: int) -> Usage:
    """Characters by four for what is sent, and the longest answer there may be."""
    said = sum(len(message.content) for message in history) + beside + len(config.system_prompt)
    return Usage(min(said, most) // 4, config.max_output_tokens + (config.thinking_tokens or 0))
