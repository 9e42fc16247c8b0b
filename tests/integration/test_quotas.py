"""Quotas and budgets on a whole server: not to be outrun by turns that come together, nor lost with a node."""

import math
from collections import Counter
from pathlib import Path

import psycopg
import trio

from tests.support.client import Client, connect, register
from tests.support.clock import day_with_time_left
from tests.support.completions import Behaviour
from tests.support.node import running_node
from tests.support.provider import stand_in

LONGEST = 1000
"""Tokens of an answer, in the agent's configuration: with its question, what a turn reserves is a little more."""
AGENT = {
    "id": "thrifty",
    "model": {"provider": "openai", "modelId": "fake", "maxOutputTokens": LONGEST},
    "systemPromptTemplate": "Be brief.",
    "quotas": {"tokens": {"maxPerDay": 10 * LONGEST + 100}},
}


def brief_rules(folder: Path) -> None:
    """House rules of the operator's own, short enough that what a turn needs is easily reckoned."""
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "SOUL.md").write_text("Be kind.")


def counters(dsn: str, scope: str) -> list[tuple[int, int]]:
    """What is used and what is reserved of the allowances whose scope begins so."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT used, reserved FROM quota_counters WHERE scope LIKE %s", (f"{scope}%",))
        return [(int(used), int(reserved)) for used, reserved in found.fetchall()]


async def test_of_a_hundred_turns_at_once_exactly_those_run_that_the_quota_allows(tmp_path: Path, pg_dsn: str) -> None:
    told: Counter[int] = Counter()
    brief_rules(tmp_path)
    await day_with_time_left()
    with trio.fail_after(90):
        async with (
            stand_in(Behaviour(first_ms=math.inf)) as provider,
            running_node(tmp_path, database_url=pg_dsn, environment=provider.environment) as node,
            connect(node.url) as http,
        ):
            mira = await register(http)
            assert (await http.post("/agents", json=AGENT, headers=mira.headers)).status_code == 201
            refused = trio.Event()

            async def chat(number: int) -> None:
                answer = await mira.chat("hello", agentId="thrifty", surfaceId=f"s{number}")
                told[answer.status_code] += 1
                assert (answer.status_code, answer.json()["code"]) == (429, "QUOTA_EXCEEDED")
                assert int(answer.headers["retry-after"]) >= 1
                if told[429] == 90:
                    refused.set()

            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(chat, number)
                await refused.wait()
                ((used, reserved),) = counters(pg_dsn, "agent/tokens")
                assert (used, 10 * LONGEST < reserved <= 10 * LONGEST + 100) == (0, True)
                shown = (await http.get("/agents/thrifty/usage", headers=mira.headers)).json()
                (quota,) = [each for each in shown["quotas"] if each["quota"] == "tokens-per-day"]
                assert (quota["limit"], quota["used"], quota["reserved"]) == (10 * LONGEST + 100, 0, reserved)
                assert quota["remaining"] == 10 * LONGEST + 100 - reserved
                nursery.cancel_scope.cancel()
            node.kill()

            # Whose node died gives back what it had reserved.
            provider.default = Behaviour()
            await node.start()
            assert counters(pg_dsn, "agent/tokens") == [(0, 0)]
            spent = 0
            for _ in range(3):
                answer = await mira.chat("hello", agentId="thrifty")
                assert answer.status_code == 200, answer.text
                spent += answer.json()["usage"]["totalTokens"]
            assert counters(pg_dsn, "agent/tokens") == [(spent, 0)]
            shown = (await http.get("/agents/thrifty/usage", headers=mira.headers)).json()
            (quota,) = [each for each in shown["quotas"] if each["quota"] == "tokens-per-day"]
            assert (quota["used"], quota["reserved"]) == (spent, 0)
            assert shown["usage"]["month"]["totalTokens"] == spent


async def test_a_users_budget_is_over_all_agents_and_nobody_elses(tmp_path: Path, pg_dsn: str) -> None:
    async def ask(client: Client) -> tuple[int, str | None]:
        answer = await client.chat("hello")
        return answer.status_code, answer.json().get("code")

    brief_rules(tmp_path)
    await day_with_time_left()
    with trio.fail_after(110):
        environment = {"USER_TOKEN_BUDGET_MONTHLY": "4400", "UNDERSTUDY_MODEL": "builtin/rehearsal"}
        async with (
            running_node(tmp_path, database_url=pg_dsn, environment=environment) as node,
            connect(node.url) as http,
        ):
            mira, noor = await register(http), await register(http)
            outcomes = [await ask(mira) for _ in range(30)]
            assert outcomes[0] == (200, None)
            assert outcomes[-1] == (429, "TOKEN_BUDGET_EXCEEDED")
            assert await ask(noor) == (200, None)
            ((used, reserved),) = counters(pg_dsn, f"user/tokens-per-month/{mira.uid}")
            assert (used > 0, used <= 4400, reserved) == (True, True, 0)
