"""What tests of providers' clients share."""

from typing import Protocol

import pytest
import trio

from tests.support.provider import StandIn
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.messages import (
    ChatMessage,
    ModelEvent,
    ModelRequest,
    TextDelta,
)
from understudy.actors.inference.openai import OpenAIClient
from understudy.actors.inference.timeouts import Timeouts
from understudy.actors.inference.upstream import StreamingClient
from understudy.storage.records import Role

REQUEST = ModelRequest("openai", "fake", (ChatMessage(Role.USER, "hi"),))
SLOW = Timeouts(connect=30, first_token=30, idle=30, total=30, linger=30)


class MakeClient(Protocol):
    def __call__(
        self, provider: StandIn | str, timeouts: Timeouts = SLOW, key: str | None = "sk-secret"
    ) -> OpenAIClient: ...


async def ask(client: StreamingClient, request: ModelRequest = REQUEST) -> list[ModelEvent]:
    """All events of the answer."""
    with trio.fail_after(30):
        async with client.stream(request) as events:
            return [one async for one in events]


def text_of(events: list[ModelEvent]) -> str:
    return "".join(one.text for one in events if isinstance(one, TextDelta))


async def failure(client: OpenAIClient) -> UpstreamFailed:
    with pytest.raises(UpstreamFailed) as caught:
        await ask(client)
    return caught.value
