"""What one turn may use, by its agent's budget: asked before each inference. Pure."""

from collections.abc import Sequence

from understudy.actors.agents.config import AgentConfig, TurnBudget
from understudy.actors.costs.prices import MILLION, PriceBook
from understudy.actors.errors import TurnBudgetExceeded
from understudy.storage.spending import Charge

LEAST_ANSWER = 16
"""Tokens: with less than that left, a model is not asked at all."""


def longest_answer(config: AgentConfig, prices: PriceBook, charges: Sequence[Charge], prompt_tokens: int) -> int:
    """How many tokens the next answer may have, after what the turn has cost so far (*charges*).

    As many as the agent's model may say, or fewer, so that the turn stays within its budget: the answer then ends there
    and says so. A model without a price is not held back by money. Raises `TurnBudgetExceeded` when even the question,
    of about *prompt_tokens*, is too much.
    """
    budget, most = config.budget, config.max_output_tokens
    if budget == TurnBudget():
        return most
    thinking = config.thinking_tokens or 0
    if budget.max_tokens is not None:
        spent = sum(charge.usage.total_tokens for charge in charges)
        left = budget.max_tokens - spent - prompt_tokens - thinking
        if left < LEAST_ANSWER:
            raise TurnBudgetExceeded(f"the agent may use {budget.max_tokens} tokens in one turn, and needs more")
        most = min(most, left)
    price = prices.find(config.provider, config.model_id)
    if budget.max_cost_micros is not None and price is not None:
        paid = sum(charge.cost or 0 for charge in charges) * MILLION
        money = budget.max_cost_micros * MILLION - paid - prompt_tokens * price.prompt
        left = (money // price.completion if price.completion else most + thinking) - thinking
        if money < 0 or left < LEAST_ANSWER:
            dollars = budget.max_cost_micros / MILLION
            raise TurnBudgetExceeded(f"the agent may spend {dollars:g} USD in one turn, and needs more")
        most = min(most, left)
    return most
