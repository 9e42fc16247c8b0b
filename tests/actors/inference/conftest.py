"""Clients that are closed when a test is over."""

from collections.abc import AsyncIterator

import pytest

from tests.actors.inference.stage import SLOW, MakeClient
from tests.support.provider import StandIn
from understudy.actors.inference.openai import OpenAIClient
from understudy.actors.inference.timeouts import Timeouts


@pytest.fixture
async def client_of() -> AsyncIterator[MakeClient]:
    made: list[OpenAIClient] = []

    def make(provider: StandIn | str, timeouts: Timeouts = SLOW, key: str | None = "sk-secret") -> OpenAIClient:
        url = provider if isinstance(provider, str) else provider.base_url
        made.append(OpenAIClient(url, key, timeouts=timeouts))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()
