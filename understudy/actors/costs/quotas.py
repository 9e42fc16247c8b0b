"""What a turn may need of which allowance. Pure: when and how much are the caller's."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs

from understudy.actors.agents.config import AgentConfig
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
    quotas = config.quotas
    if user_monthly is None and not quotas.limited:
        return ()
    usage = _estimate(config, history, len(question) + beside, most)
    cost = prices.cost(config.provider, config.model_id, usage, PromptCache()).micros or 0
    hour = now.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    month = day.replace(day=1)
    agent = f"{key.workspace_id}/{key.agent_id}"
    found: list[Allowance] = []

    def limit(what: str, starts: datetime, ends: datetime, amount: int, most: int | None, *, money: bool) -> None:
        if most is not None:
            reservation = Reservation(f"agent/{what}/{agent}", starts, amount, most, money)
            found.append(Allowance(reservation, f"the agent's quota of {what.replace('-', ' ')}", ends))

    tokens, tomorrow = usage.total_tokens, day + timedelta(days=1)
    limit("tokens-per-hour", hour, hour + timedelta(hours=1), tokens, quotas.tokens_per_hour, money=False)
    limit("tokens-per-day", day, tomorrow, tokens, quotas.tokens_per_day, money=False)
    limit("cost-per-day", day, tomorrow, cost, quotas.micros_per_day, money=True)
    if user_monthly is not None:
        following = (month + timedelta(days=31)).replace(day=1)
        reservation = Reservation(f"user/tokens-per-month/{key.uid}", month, tokens, user_monthly)
        found.append(Allowance(reservation, "your token budget of this month", following, of_user=True))
    return tuple(found)


def _estimate(config: AgentConfig, history: Sequence[Message], beside: int, most: int) -> Usage:
    """Characters by four for what is sent, and the longest answer there may be."""
    said = sum(len(message.content) for message in history) + beside + len(config.system_prompt)
    return Usage(min(said, most) // 4, config.max_output_tokens + (config.thinking_tokens or 0))
