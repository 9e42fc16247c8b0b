"""Running an agent on somebody's behalf, for jobs, heartbeats and callers that are no chat."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import attrs
import trio

from understudy.actors.agents.delegation import Delegated
from understudy.actors.asking import Messenger
from understudy.actors.errors import DomainError, Interrupted, refusal
from understudy.actors.session.messages import (
    DIRECTORY,
    CancelTurn,
    OnBusy,
    StartTurn,
    TurnStarted,
    session_address,
)
from understudy.actors.workspaces.messages import WORKSPACES, ResolveWorkspace
from understudy.runtime import RuntimeFault
from understudy.storage.records import IdempotencyKey, RunEvent, SessionKey, Usage

STOP_BOUND = 10.0
"""Seconds that the turn is given to become quiet when whoever wanted it no longer does."""

UNREAD = 30.0
"""Seconds for which the turn goes on when whoever wanted it is gone without a word."""


@attrs.frozen
class Errand:
    """What is to be done, by which agent, for whom; ``surface_id`` names the conversation it becomes part of.

    With ``idempotency`` the same errand run again is answered by the first one's turn; ``delegated`` are the bounds of
    one that is run for another agent.
    """

    uid: str
    workspace_id: str
    agent_id: str
    message: str
    surface: str = "prop"
    surface_id: str = "errand"
    timeout: float = 120.0
    idempotency: IdempotencyKey | None = None
    delegated: Delegated | None = None


@attrs.frozen
class ErrandDone:
    """What came of it."""

    session_id: str
    turn_id: str
    content: str
    tools_used: tuple[str, ...]
    usage: Usage
    model: str | None


async def run_errand(
    system: Messenger, errand: Errand, *, on_start: Callable[[TurnStarted], Awaitable[object]] | None = None
) -> ErrandDone:
    """Run one turn and wait for its end, at most ``errand.timeout`` seconds.

    *on_start* is told where it runs once it is recorded, before it has an answer.

    The user must still be a member who may run agents there. Cancelled, or out of time, the turn is cancelled too and
    quiet before this returns (within `STOP_BOUND`); a turn that was recorded is never lost, only ended. Raises the
    `DomainError` that a chat would have been answered with.
    """
    with trio.move_on_after(errand.timeout):
        view = await system.ask(WORKSPACES, ResolveWorkspace(errand.uid, errand.workspace_id))
        key = SessionKey(view.workspace.id, errand.uid, errand.agent_id, errand.surface, errand.surface_id)
        started = await system.ask(
            DIRECTORY,
            StartTurn(
                key, errand.message, OnBusy.ENQUEUE, errand.idempotency, grace=UNREAD, delegated=errand.delegated
            ),
            timeout=errand.timeout,
        )
        try:
            if on_start is not None:
                await on_start(started)
            return await _ending(system, started)
        except trio.Cancelled:
            # Whatever it says: the cancellation must not be lost to an error. Unread, the turn ends by itself.
            with (
                trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_BOUND),
                suppress(DomainError, RuntimeFault),
            ):
                stop = CancelTurn(errand.uid, started.session_id, started.turn_id)
                await system.ask(DIRECTORY, stop, timeout=STOP_BOUND)
            raise
    raise refusal("TIMEOUT", f"the agent took longer than the {errand.timeout:g} s it was given")


async def _ending(system: Messenger, started: TurnStarted) -> ErrandDone:
    async with system.subscribe(session_address(started.session_id), after=started.after) as events:
        async for item in events:
            event = getattr(item, "event", None)
            if not isinstance(event, RunEvent) or event.turn_id != started.turn_id:
                continue
            if event.type == "error":
                raise refusal(str(event.data.get("code")), str(event.data.get("message", "the turn failed")))
            if event.type == "done":
                return _done(started, event.data)
    raise Interrupted("the session ended before its turn did")


def _done(started: TurnStarted, data: Mapping[str, Any]) -> ErrandDone:
    usage = data.get("usage", {})
    return ErrandDone(
        session_id=started.session_id,
        turn_id=started.turn_id,
        content=data.get("content", ""),
        tools_used=tuple(data.get("toolsUsed", ())),
        usage=Usage(usage.get("promptTokens", 0), usage.get("completionTokens", 0)),
        model=data.get("model"),
    )
