"""Slash commands: answered by the session, and told to no model."""

import attrs
import pytest

from tests.actors.session.stage import CHAD, KEY, stage, text, types
from understudy.actors.session.commands import Command, command_of
from understudy.actors.session.messages import DIRECTORY, GetSession
from understudy.storage.records import IdempotencyKey, SessionStatus


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ("/help", Command.HELP),
        ("  /HELP\n", Command.HELP),
        ("/status", Command.STATUS),
        ("/reset", Command.RESET),
        ("/frobnicate", Command.UNKNOWN),
        ("/help me write a letter", None),
        ("/etc/hosts", None),
        ("/", None),
        ("/2+2", None),
        ("what does /help do", None),
        ("help", None),
    ],
)
def test_a_command_is_a_slash_and_one_word(message: str, command: Command | None) -> None:
    assert command_of(message) is command


async def test_help_is_a_normal_answer_without_a_model_and_without_usage() -> None:
    async with stage() as it:
        events = await it.chat("/help")
        assert types(events) == ["session_resolved", "content", "done"]
        done = events[-1].data
        assert "/reset: begin a new conversation" in done["content"]
        assert (done["usage"]["totalTokens"], done["toolsUsed"], "model" in done) == (0, [], False)
        assert text(await it.chat("hi")) == "hello there"
        assert [m.content for m in it.models.requests[0].messages[1:]] == ["hi"]
        assert len(it.models.requests) == 1
        told = [o.item.topic for o in it.store.tables.outbox.values()]
        assert told == ["agent.completed"]


async def test_an_unknown_command_is_answered_with_those_that_exist() -> None:
    async with stage() as it:
        said = text(await it.chat("/frobnicate"))
        assert said.startswith("There is no command /frobnicate.")
        assert "/status" in said
        assert it.models.requests == []


async def test_status_says_who_answers_and_how_full_the_context_is() -> None:
    agent = attrs.evolve(CHAD, max_context_tokens=2000, max_output_tokens=1000)
    async with stage(agent=agent) as it:
        await it.chat("x" * 1000)
        said = text(await it.chat("/status"))
        assert "Agent: Chad (chad)\nModel: test/script" in said
        assert "Messages: 2; tokens used: 12" in said
        assert "about 26 %" in said


async def test_reset_archives_the_conversation_and_answers_in_the_new_one() -> None:
    async with stage() as it:
        first = await it.start("hi")
        await it.read(first)
        reset = await it.start("/reset")
        events = await it.read(reset)
        assert (reset.is_new, reset.session_id != first.session_id) == (True, True)
        assert text(events).startswith("A new conversation has begun.")
        old = await it.system.ask(DIRECTORY, GetSession(KEY.uid, first.session_id))
        assert old.session.status is SessionStatus.ARCHIVED
        await it.chat("again")
        assert [m.content for m in it.models.requests[-1].messages[1:]] == ["again"]


async def test_a_reset_repeated_under_its_key_happened_once() -> None:
    key = IdempotencyKey("usr_1|chat", "k", b"h" * 32)
    async with stage() as it:
        await it.chat("hi")
        first = await it.start("/reset", idempotency=key)
        await it.read(first)
        again = await it.start("/reset", idempotency=key)
        assert (again.turn_id, again.session_id, again.replayed) == (first.turn_id, first.session_id, True)
