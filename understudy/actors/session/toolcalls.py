"""The tool calls of one round: consent where it is needed, then run side by side."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager

import trio

from understudy.actors.clock import written
from understudy.actors.errors import DomainError
from understudy.actors.session.chronicle import Chronicle, shown
from understudy.actors.session.ports import Consent, Tools
from understudy.actors.session.recorder import Recorder
from understudy.actors.tools.messages import ToolContext, ToolResult
from understudy.storage.records import Approval, ToolCall

AWAITING = "awaiting_approval"
"""What an agent does while somebody thinks about a call."""

MAX_PARALLEL_TOOLS = 4
"""Tools of one round that run side by side."""

MOST_ASKED = 20
"""Calls of one round that people are asked about; those beyond are not run."""


class ToolCalls:
    """Runs the calls of one turn, round by round. Its events are noted with the turn's recorder.

    *hold* stops the turn's clock while somebody thinks about a call.
    """

    def __init__(
        self,
        tools: Tools,
        consent: Consent | None,
        context: ToolContext,
        allowed: Collection[str],
        recorder: Recorder,
        chronicle: Chronicle,
        set_state: Callable[[str], None],
        hold: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.used: dict[str, None] = {}
        """The names of the tools that ran, in the order of their first use."""
        self._tools = tools
        self._consent = consent
        self._context = context
        self._allowed = allowed
        self._recorder = recorder
        self._chronicle = chronicle
        self._set_state = set_state
        self._hold = hold

    async def run(self, calls: Sequence[ToolCall], most: int | None = None) -> list[ToolResult]:
        """The results of *calls*, in their order; those after the first *most* are not run, and say so.

        A call that needs consent waits for it before any call of the round runs. Cancelled, the tools are stopped and
        requests for consent are withdrawn before this returns.
        """
        results: dict[int, ToolResult] = {}
        first = len(calls) if most is None else most
        for position, call in enumerate(calls[first:], start=first):
            results[position] = refused(call, "it was not run: the agent may make no more tool calls in this turn")
        results |= await self._ask(calls[:first])
        self._set_state("tool")
        serial = any(self._tools.is_serial(call.name) for call in calls)
        slots = trio.Semaphore(1 if serial else MAX_PARALLEL_TOOLS)

        async def run(position: int, call: ToolCall) -> None:
            async with slots:
                began = trio.current_time()
                result = await self._tools.run(call, self._context, allowed=self._allowed)
            results[position] = result
            self.used[call.name] = None
            self._chronicle.tool(began, call, result)
            self._note(result)

        for result in results.values():
            self._note(result)
        async with trio.open_nursery() as nursery:
            for position, call in enumerate(calls):
                if position not in results:
                    nursery.start_soon(run, position, call)
        return [results[position] for position in range(len(calls))]

    def _note(self, result: ToolResult) -> None:
        self._recorder.add(
            "tool_result",
            {"name": result.name, "durationMs": result.duration_ms, "toolCallId": result.call_id, "ok": result.ok},
        )

    async def _ask(self, calls: Sequence[ToolCall]) -> dict[int, ToolResult]:
        """Results for the calls that nobody consented to; those that may run are not among them."""
        consent, agent = self._consent, self._context.agent_id
        if consent is None:
            return {}
        asked = [
            (position, call)
            for position, call in enumerate(calls)
            if call.name in self._allowed and consent.is_needed(agent, call.name)
        ]
        too_many = "it was not run: it needs somebody's consent, and too many calls were made at once to ask for it"
        refusals = {position: refused(call, too_many) for position, call in asked[MOST_ASKED:]}
        if not asked:
            return refusals

        async def ask(position: int, call: ToolCall, consent: Consent) -> None:
            why = await self._refusal(call, consent)
            if why is not None:
                refusals[position] = refused(call, why)

        with self._hold():
            async with trio.open_nursery() as nursery:
                for position, call in asked[:MOST_ASKED]:
                    nursery.start_soon(ask, position, call, consent)
        return refusals

    async def _refusal(self, call: ToolCall, consent: Consent) -> str | None:
        """Why the call must not run; None when it may."""
        began = trio.current_time()
        try:
            asked = await consent.request(call, self._context)
        except DomainError as error:
            return f"it was not run: it needs somebody's consent, and nobody could be asked ({error})"
        self._set_state(AWAITING)
        self._recorder.add("approval_requested", _shown(asked))
        settled = False
        try:
            decided = await consent.decision(asked)
            settled = True
        except DomainError as error:
            return f"it was not run: it needs somebody's consent, and none came ({error})"
        finally:
            if not settled:
                consent.withdraw(asked)
        self._recorder.add(
            "approval_decided",
            {"requestId": decided.id, "toolCallId": call.id, "status": decided.status.value, "note": decided.note},
        )
        self._chronicle.note("approval", began, name=call.name, requestId=decided.id, status=decided.status.value)
        if consent.allows(decided):
            return None
        said = f": {decided.note}" if decided.note else ""
        return f"it was not run: consent was asked for, and the request was {decided.status.value}{said}"


def _shown(asked: Approval) -> dict[str, object]:
    return {
        "requestId": asked.id,
        "name": asked.tool,
        "toolCallId": asked.tool_call_id,
        "arguments": shown(asked.arguments),
        "expiresAt": written(asked.expires_at),
    }


def refused(call: ToolCall, why: str) -> ToolResult:
    """The result of a call that was not run; the model reads *why*."""
    return ToolResult(call.id, call.name, ok=False, content=f"{call.name}: {why}", duration_ms=0)
