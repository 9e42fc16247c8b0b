"""What a turn reserves, and of which allowance."""

from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.agents.config import UNLIMITED, AgentConfig, Quotas
from understudy.actors.agents.document import AgentDocument, config_of, from_json
from understudy.actors.costs.prices import PriceBook
from understudy.actors.costs.quotas import Allowance, allowances
from understudy.storage.records import Message, Role, SessionKey
from understudy.storage.spending import Reservation

KEY = SessionKey("ws_1", "usr_1", "chad", "chat", "main")
NOW = datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC)
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
CHAD = AgentConfig("chad", "Chad", "", "openai", "gpt-4o", "x" * 40, max_output_tokens=100)
SHIPPED = PriceBook.shipped()
LIMITED = Quotas(tokens_per_hour=1_000, tokens_per_day=2_000, micros_per_day=3_000)


def wanted(
    quotas: Quotas = UNLIMITED, *, user: int | None = None, said: str = "", now: datetime = NOW
) -> tuple[Allowance, ...]:
    history = [Message("msg_1", "ses_1", "trn_0", Role.USER, said, now)]
    config = attrs.evolve(CHAD, quotas=quotas)
    return allowances(config, KEY, history, "y" * 40, now=now, prices=SHIPPED, user_monthly=user)


def test_without_quotas_nothing_is_reserved() -> None:
    assert wanted() == ()


def test_a_turn_reserves_its_question_its_conversation_and_the_longest_answer() -> None:
    hour, day, money, month = wanted(LIMITED, user=9_000, said="z" * 80)
    assert hour.reservation == Reservation(
        "agent/tokens-per-hour/ws_1/chad", NOW.replace(minute=0, second=0), 140, 1_000
    )
    midnight = NOW.replace(hour=0, minute=0, second=0)
    assert day.reservation == Reservation("agent/tokens-per-day/ws_1/chad", midnight, 140, 2_000)
    assert money.reservation == Reservation("agent/cost-per-day/ws_1/chad", midnight, 1_100, 3_000, money=True)
    first = midnight.replace(day=1)
    assert month.reservation == Reservation("user/tokens-per-month/usr_1", first, 140, 9_000)
    assert {each.ends for each in (hour, day, money, month)} == {NEW_YEAR}


def test_who_is_refused_is_told_what_ran_out_and_until_when() -> None:
    hour, *_, month = wanted(LIMITED, user=9_000)
    refusal, budget = hour.refusal(NOW), month.refusal(NOW)
    assert (refusal.code, refusal.retry_after) == ("QUOTA_EXCEEDED", 30.0)
    assert "tokens per hour" in refusal.message
    assert (budget.code, budget.retry_after) == ("TOKEN_BUDGET_EXCEEDED", 30.0)


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda now: 1 < now.year < 9999))
def test_every_moment_is_in_exactly_one_stretch_of_each_allowance(now: datetime) -> None:
    for each in wanted(LIMITED, user=1, now=now):
        assert each.reservation.starts <= now < each.ends
        (after,) = (x for x in wanted(LIMITED, user=1, now=each.ends) if x.name == each.name)
        assert after.reservation.starts == each.ends


@pytest.mark.parametrize(
    ("tier", "quotas", "found"),
    [
        (None, None, UNLIMITED),
        ("free", None, Quotas(None, 100_000, 1_000_000)),
        ("standard", None, Quotas(None, 2_000_000, 20_000_000)),
        ("premium", None, Quotas(None, 20_000_000, 200_000_000)),
        (None, {}, Quotas(None, 2_000_000, 20_000_000)),
        ("free", {}, Quotas(None, 100_000, 1_000_000)),
        ("standard", {"tokens": {"maxPerHour": 5}}, Quotas(5, 2_000_000, 20_000_000)),
        ("premium", {"tokens": {"maxPerDay": 7}, "cost": {"maxPerDay": 0.5}}, Quotas(None, 7, 500_000)),
    ],
)
def test_what_the_quotas_leave_open_has_the_tiers_limits(tier: str | None, quotas: object, found: Quotas) -> None:
    model = {"provider": "openai", "modelId": "gpt-4o"}
    document: AgentDocument = from_json({"model": model, "systemPromptTemplate": "x", "tier": tier, "quotas": quotas})
    assert config_of("a", document, ()).quotas == found
