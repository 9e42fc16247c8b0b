"""One turn: the question is recorded, the model answers, tools run, the answer is recorded.

A turn is linked work of its session's actor. It ends in exactly one way, and the database learns of it before any
reader does. Cancelling it closes the provider's connection and its tools; what had been streamed is kept.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import attrs
import trio

from understudy.actors.agents.config import AgentConfig
from understudy.actors.errors import DomainError
from understudy.actors.inference.messages import (
    Finished,
    ModelRequest,
    PromptCache,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
    ToolSpec,
)
from understudy.actors.inference.retry import RetryBudget
from understudy.actors.session.chronicle import Chronicle
from understudy.actors.session.context import NOTHING_KNOWN, build_context
from understudy.actors.session.facts import turn_ended
from understudy.actors.session.ports import ModelStreams, Recall
from understudy.actors.session.recorder import Recorder, storable
from understudy.actors.tools.messages import ToolContext, ToolResult
from understudy.storage.entries import MessagesAdded, TurnClosed
from understudy.storage.records import Message, Role, Session, ToolCall, TurnStatus, Usage, new_id

MAX_PARALLEL_TOOLS = 4
"""Tools of one round that run side by side."""


class Tools(Protocol):
    """What a turn needs of the toolbox."""

    def specs(self, names: Collection[str] | None = None) -> tuple[ToolSpec, ...]:
        """The tools with these names, as offered to a model; unknown names are left out."""
        ...

    def is_serial(self, name: str) -> bool:
        """Whether calls of this tool must not run beside others of their round."""
        ...

    async def run(self, call: ToolCall, context: ToolContext, *, allowed: Collection[str] | None = None) -> ToolResult:
        """Run one call in this task, if it is *allowed*; failures are results. Cancelled means stopped."""
        ...


@attrs.frozen
class Ending:
    """How a turn ended; the error's words are what its asker is told."""

    status: TurnStatus
    error_code: str | None = None
    error_message: str | None = None
    rolled_back: bool = False


@attrs.define
class Answer:
    """What the model has said and done so far in this turn."""

    text: list[str] = attrs.field(factory=list)
    usage: Usage = attrs.field(factory=Usage)
    cache: PromptCache = attrs.field(factory=PromptCache)
    tools_used: dict[str, None] = attrs.field(factory=dict)
    model: str | None = None
    calls_made: int = 0
    reason: str = "stop"

    @property
    def content(self) -> str:
        """All text of the turn, over its rounds: what the `content` events add up to."""
        return "".join(self.text)


class Turn:
    """One turn under way. Made by the session's actor, run as its linked work, cancelled through ``cancel``."""

    def __init__(
        self,
        session: Session,
        turn_id: str,
        config: AgentConfig,
        history: list[Message],
        recorder: Recorder,
        models: ModelStreams,
        tools: Tools,
        now: Callable[[], datetime],
        set_state: Callable[[str], None],
        chronicle: Chronicle,
        recall: Recall | None = None,
    ) -> None:
        self.id = turn_id
        self.session = session
        self.config = config
        self.answer = Answer()
        self.started_at = now()
        self._history = history
        self._recorder = recorder
        self._models = models
        self._tools = tools
        self._now = now
        self._set_state = set_state
        self._chronicle = chronicle
        self._recall = recall
        self._known: Mapping[str, str] = NOTHING_KNOWN
        self._round_text: list[str] = []
        self._retries = RetryBudget()

    async def converse(self) -> None:
        """Run the rounds until the model has answered.

        Events are committed and published meanwhile. Raises a `DomainError` when the provider fails; cancelled, the
        provider's connection and the tools are closed before this returns, and what was noted stays with the recorder.
        """
        refusal: DomainError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._recorder.keep_flushing)
            try:
                await self._rounds()
            except DomainError as error:  # kept out of the nursery, which would wrap it in a group
                refusal = error
            nursery.cancel_scope.cancel()
        if refusal is not None:
            raise refusal

    async def _rounds(self) -> None:
        offered = self._tools.specs(self.config.tools)
        if self._recall is not None:
            asked = next((told.content for told in reversed(self._history) if told.role is Role.USER), "")
            began = trio.current_time()
            self._known = await self._recall(self.config.system_prompt, self.session.key, asked)
            if self._known:
                self._chronicle.note("memory", began, values=sorted(self._known))
        for left in range(self.config.max_tool_rounds, -1, -1):
            # The last round is asked without tools, so that the user gets an answer and not a sixth call.
            calls = await self._infer(offered if left else ())
            if not calls:
                return
            await self._call_tools(calls)

    async def _infer(self, tools: tuple[ToolSpec, ...]) -> list[ToolCall]:
        """One round: stream the model's answer into the log; returns the tool calls it asks for."""
        config = self.config
        began = trio.current_time()
        request = ModelRequest(
            provider=config.provider,
            model=config.model_id,
            messages=build_context(config, self._history, self._now(), self.session.key, self._known),
            tools=tools,
            temperature=config.temperature,
            max_output_tokens=config.max_output_tokens,
            fallbacks=config.fallbacks,
            endpoint=config.endpoint,
            thinking_tokens=config.thinking_tokens,
        )
        self._chronicle.note("context", began, messages=len(request.messages), tools=len(tools))
        self._set_state("thinking")
        self._round_text = []
        calls: list[ToolCall] = []
        base = self.answer.calls_made
        with self._chronicle.inference(request, self._retries) as note:
            note.text = self._round_text
            async with self._models.stream(request, self._retries) as events:
                async for event in events:
                    match event:
                        case TextDelta(said):
                            text = storable(said)
                            if not self._round_text:
                                self._set_state("streaming")
                            self._round_text.append(text)
                            self.answer.text.append(text)
                            self._recorder.text(text)
                        case ToolCallStarted(index, call_id, name):
                            self._recorder.add(
                                "tool_call", {"index": base + index, "name": name, "toolCallId": call_id}
                            )
                        case ToolCallCompleted(index, call_id, name, arguments):
                            arguments = storable(arguments)
                            calls.append(ToolCall(call_id, name, arguments))
                            note.tools.append(name)
                            self._recorder.add(
                                "tool_call_complete",
                                {"index": base + index, "name": name, "arguments": arguments, "toolCallId": call_id},
                            )
                        case Finished(reason, usage, model, cache=cache, provider=provider):
                            note.finished = event
                            self.answer.usage += usage
                            self.answer.cache += cache
                            self.answer.model = f"{provider or config.provider}/{model}"
                            self.answer.reason = reason
                    if self._recorder.crowded:
                        await self._recorder.wait_room()
        self.answer.calls_made += len(calls)
        return calls

    async def _call_tools(self, calls: Sequence[ToolCall]) -> None:
        """Run the calls of one round side by side; note the calls and their results, in the order of the calls."""
        self._set_state("tool")
        asked = self._message(Role.ASSISTANT, "".join(self._round_text), tool_calls=tuple(calls))
        session = self.session
        context = ToolContext(
            workspace_id=session.key.workspace_id,
            uid=session.key.uid,
            agent_id=session.key.agent_id,
            session_id=session.id,
            turn_id=self.id,
            timezone=self.config.timezone,
            skills=self.config.skills,
            files=self.config.file_access,
        )
        results: dict[int, ToolResult] = {}
        serial = any(self._tools.is_serial(call.name) for call in calls)
        slots = trio.Semaphore(1 if serial else MAX_PARALLEL_TOOLS)

        async def run(position: int, call: ToolCall) -> None:
            async with slots:
                began = trio.current_time()
                result = await self._tools.run(call, context, allowed=self.config.tools)
            results[position] = result
            self._chronicle.tool(began, call, result)
            self.answer.tools_used[call.name] = None
            self._recorder.add(
                "tool_result",
                {
                    "name": call.name,
                    "durationMs": result.duration_ms,
                    "toolCallId": call.id,
                    "ok": result.ok,
                },
            )

        async with trio.open_nursery() as nursery:
            for position, call in enumerate(calls):
                nursery.start_soon(run, position, call)
        answered = [
            self._message(Role.TOOL, storable(results[position].content), tool_call_id=call.id)
            for position, call in enumerate(calls)
        ]
        # One group: a call without its result must never be in the history, most providers refuse such a one.
        noted = (asked, *answered)
        await self._recorder.flush(MessagesAdded(session.epoch, session.id, noted))
        self._history.extend(noted)
        self._round_text = []

    async def close(self, ending: Ending) -> datetime:
        """Record the end and publish it: after this the turn is quiet. Returns when it ended, on the wall clock.

        Keeps trying while the database is away. Cancelled (the actor is killed), the turn is left running in the
        database, and the session's next incarnation finds and ends it.
        """
        finished_at = self._now()
        answer, session = self.answer, self.session
        content = answer.content
        rest = "".join(self._round_text)
        message = None
        if rest or ending.status is TurnStatus.COMPLETED:
            status = "complete" if ending.status is TurnStatus.COMPLETED else ending.status.value
            message = self._message(Role.ASSISTANT, rest, status=status, tokens=answer.usage.completion_tokens)
        tools_used = tuple(answer.tools_used)
        if ending.status is TurnStatus.COMPLETED:
            self._recorder.add(
                "done",
                {
                    "content": content,
                    "sessionId": session.id,
                    "usage": {
                        "promptTokens": answer.usage.prompt_tokens,
                        "completionTokens": answer.usage.completion_tokens,
                        "totalTokens": answer.usage.total_tokens,
                        **({"cachedTokens": answer.cache.read} if answer.cache.read else {}),
                    },
                    "toolsUsed": list(tools_used),
                    "turnId": self.id,
                    "agentId": session.key.agent_id,
                    "model": answer.model,
                    "finishReason": answer.reason,
                    "durationMs": round((finished_at - self.started_at).total_seconds() * 1000),
                },
            )
        else:
            self._recorder.add("error", {"message": ending.error_message, "code": ending.error_code, "turnId": self.id})
        await self._recorder.flush(
            TurnClosed(
                epoch=session.epoch,
                turn_id=self.id,
                session_id=session.id,
                status=ending.status,
                finished_at=finished_at,
                content=content,
                message=message,
                model=answer.model,
                tools_used=tools_used,
                usage=answer.usage,
                error_code=ending.error_code,
                error_message=ending.error_message,
                rolled_back=ending.rolled_back,
                charges=self._chronicle.charges,
                trace=self._chronicle.trace(),
            ),
            *turn_ended(
                session,
                self.id,
                ending.status,
                started_at=self.started_at,
                finished_at=finished_at,
                usage=answer.usage,
                tool_calls=answer.calls_made,
                model=answer.model,
                error=ending.error_message,
                code=ending.error_code,
            ),
        )
        if message is not None and not ending.rolled_back:
            self._history.append(message)
        return finished_at

    def _message(
        self,
        role: Role,
        content: str,
        *,
        status: str = "complete",
        tool_calls: tuple[ToolCall, ...] = (),
        tool_call_id: str | None = None,
        tokens: int = 0,
    ) -> Message:
        return Message(
            id=new_id("msg"),
            session_id=self.session.id,
            turn_id=self.id,
            role=role,
            content=content,
            created_at=self._now(),
            status=status,
            tool_calls=tool_calls,
            tool_call_id=tool_call_id,
            tokens=tokens,
        )


def failed(error: DomainError) -> Ending:
    """The ending of a turn whose provider, agent or limits refused."""
    return Ending(TurnStatus.FAILED, error.code, error.message)
