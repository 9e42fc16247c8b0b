"""Chats that were answered, and what must be found of them after whatever happened."""

from typing import Any

import attrs
import trio

from tests.support.client import Client

LIMIT = 500
"""Messages that a session shows at most."""


@attrs.frozen
class Answered:
    """A chat that was answered: what must be found afterwards."""

    session_id: str
    question: str
    answer: str


async def assert_kept(client: Client, answered: list[Answered]) -> None:
    """Each answer that a client got is in its session, once, to its question; and no turn is running there."""
    by_session: dict[str, list[Answered]] = {}
    for each in answered:
        by_session.setdefault(each.session_id, []).append(each)

    async def check(session_id: str, turns: list[Answered]) -> None:
        async with limit:
            detail = await client.session(session_id)
        kept = whole_answers(detail["messages"])
        for turn in turns:
            if turn.question in kept or len(detail["messages"]) < LIMIT:
                assert kept[turn.question] == [turn.answer]
        assert detail["runningTurn"] is None

    limit = trio.Semaphore(16)
    async with trio.open_nursery() as nursery:
        for session_id, turns in by_session.items():
            nursery.start_soon(check, session_id, turns)


def whole_answers(messages: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The complete answers to each question; a question that was asked again after a failure may stand there twice."""
    answers: dict[str, list[str]] = {}
    question = ""
    for message in messages:
        if message["role"] == "user":
            question = message["content"]
        elif message["role"] == "assistant" and message["status"] == "complete" and not message.get("toolCalls"):
            answers.setdefault(question, []).append(message["content"])
    return answers
