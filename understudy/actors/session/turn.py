"""One turn: the question is recorded, the model answers, tools run, the answer is recorded.

A turn is linked work of its session's actor. It ends in exactly one way, and the database learns of it before any
reader does. Cancelling it closes the provider's connection and its tools; what had been streamed is kept.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import trio

from understudy.actors.agents.config import AgentConfig
from understudy.actors.errors import ContextTooLarge
from understudy.actors.inference.errors import ContextTooLong
from understudy.actors.inference.messages import (
    Finished,
    ModelRequest,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
    ToolSpec,
)
from understudy.actors.inference.retry import RetryBudget
from understudy.actors.session.caps import longest_answer
from understudy.actors.session.chronicle import Chronicle
from understudy.actors.session.context import COMMAND, Context
from understudy.actors.session.conversation import Conversation
from understudy.actors.session.ending import Answer, Ending
from understudy.actors.session.facts import turn_ended
from understudy.actors.session.prompting import Prompt
from understudy.actors.session.recorder import Recorder, storable
from understudy.actors.session.services import SessionServices
from understudy.actors.session.toolcalls import ToolCalls
from understudy.actors.tools.messages import ToolContext
from understudy.storage.entries import MessagesAdded, Published, TurnClosed
from understudy.storage.records import Message, Role, Session, ToolCall, TurnStatus, new_id


class Turn:
    """One turn under way. Made by the session's actor, run as its linked work, cancelled through ``cancel``.

    With a *recital* it answers that, and asks no model: a slash command. *preface* stands before the agent's prompt;
    *hold* stops the clock that ends a turn which takes too long.
    """

    def __init__(
        self,
        session: Session,
        turn_id: str,
        config: AgentConfig,
        conversation: Conversation,
        recorder: Recorder,
        services: SessionServices,
        chronicle: Chronicle,
        *,
        set_state: Callable[[str], None],
        hold: Callable[[], AbstractContextManager[None]],
        preface: str = "",
        recital: str | None = None,
        root: str = "",
    ) -> None:
        self.id = turn_id
        self.session = session
        self.config = config
        self.answer = Answer()
        self.started_at = services.now()
        self.recital = recital
        self._conversation = conversation
        self._recorder = recorder
        self._services = services
        self._now = services.now
        self._set_state = set_state
        self._chronicle = chronicle
        self._retries = RetryBudget()
        self._prompt = Prompt(
            session, turn_id, config, conversation, services, chronicle, recorder, preface, self._retries
        )
        self._round_text: list[str] = []
        key = session.key
        context = ToolContext(
            workspace_id=key.workspace_id,
            uid=key.uid,
            agent_id=key.agent_id,
            session_id=session.id,
            turn_id=turn_id,
            timezone=config.timezone,
            skills=config.skills,
            files=config.file_access,
            memory_profile_id=config.memory_profile_id,
            tools=config.tools,
            spawn=config.spawn,
            root=root,
        )
        self._calls = ToolCalls(
            services.tools, services.consent, context, config.tools, recorder, chronicle, set_state, hold
        )

    @property
    def fullness(self) -> float:
        """How full the context was when the model was asked last: a share of the window."""
        return self._prompt.fullness

    async def converse(self) -> None:
        """Run the rounds until the model has answered.

        Events are committed and published meanwhile. Raises a `DomainError` when the provider fails; cancelled, the
        provider's connection and the tools are closed before this returns, and what was noted stays with the recorder.
        Raises `Fenced` when somebody newer owns the session: nothing of the turn can be written any more.
        """
        if self.recital is not None:
            self._say(self.recital)
            return
        with trio.CancelScope() as broken:
            self._recorder.open(broken.cancel)
            try:
                await self._rounds()
            finally:
                await self._recorder.close()  # shielded, and bounded by one commit

    async def _rounds(self) -> None:
        await self._prompt.remember()
        offered = self._services.tools.specs(self.config.tools)
        most = self.config.budget.max_tool_calls
        for left in range(self.config.max_tool_rounds, -1, -1):
            # The last round is asked without tools, so that the user gets an answer and not a sixth call.
            calls_left = None if most is None else max(0, most - self.answer.calls_made)
            last = left == 0 or calls_left == 0
            if last and offered and self.answer.calls_made:
                self._chronicle.truncated = True
            calls = await self._infer(() if last else offered)
            if last or not calls:
                return
            await self._call_tools(calls, calls_left)

    async def _infer(self, tools: tuple[ToolSpec, ...]) -> list[ToolCall]:
        """One round: stream the model's answer into the log; returns the tool calls it asks for.

        A provider that finds the conversation too long is asked once more, with less of it.
        """
        context = await self._prompt.context(tools, compact=not self.answer.calls_made)
        try:
            return await self._ask(context)
        except ContextTooLong as error:
            if self._round_text or not await self._prompt.squeeze(context):
                raise ContextTooLarge(f"{error.message}; there is nothing more to leave out") from error
        return await self._infer(tools)

    async def _ask(self, context: Context) -> list[ToolCall]:
        config = self.config
        request = ModelRequest(
            provider=config.provider,
            model=config.model_id,
            messages=context.messages,
            tools=context.tools,
            temperature=config.temperature,
            max_output_tokens=longest_answer(config, self._services.prices, self._chronicle.charges, context.tokens),
            fallbacks=config.fallbacks,
            endpoint=config.endpoint,
            thinking_tokens=config.thinking_tokens,
        )
        self._set_state("thinking")
        self._round_text = []
        calls: list[ToolCall] = []
        base = self.answer.calls_made
        with self._chronicle.inference(request, self._retries) as note:
            note.text = self._round_text
            async with self._services.models.stream(request, self._retries) as events:
                async for event in events:
                    match event:
                        case TextDelta(said):
                            if not self._round_text:
                                self._set_state("streaming")
                            self._say(storable(said))
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

    def _say(self, text: str) -> None:
        self._round_text.append(text)
        self.answer.text.append(text)
        self._recorder.text(text)

    async def _call_tools(self, calls: Sequence[ToolCall], most: int | None) -> None:
        """Run the calls of one round, the first *most* of them; note calls and results, in the order of the calls."""
        session = self.session
        asked = self._message(Role.ASSISTANT, "".join(self._round_text), tool_calls=tuple(calls))
        results = await self._calls.run(calls, most)
        answered = [
            self._message(Role.TOOL, storable(result.content), tool_call_id=call.id)
            for call, result in zip(calls, results, strict=True)
        ]
        # One group: a call without its result must never be in the history, most providers refuse such a one.
        noted = (asked, *answered)
        await self._recorder.flush(MessagesAdded(session.epoch, session.id, noted))
        self._conversation.messages.extend(noted)
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
            status = status if self.recital is None else COMMAND
            message = self._message(Role.ASSISTANT, rest, status=status, tokens=answer.usage.completion_tokens)
        tools_used = tuple(self._calls.used)
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
                    **({"model": answer.model} if answer.model is not None else {}),
                    "finishReason": answer.reason,
                    "durationMs": round((finished_at - self.started_at).total_seconds() * 1000),
                },
            )
        else:
            self._recorder.add("error", ending.error_event(self.id))
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
            *(() if self.recital is not None else (self._told(ending, finished_at),)),
        )
        if message is not None and not ending.rolled_back:
            self._conversation.messages.append(message)
        return finished_at

    def _told(self, ending: Ending, finished_at: datetime) -> Published:
        return turn_ended(
            self.session,
            self.id,
            ending.status,
            started_at=self.started_at,
            finished_at=finished_at,
            usage=self.answer.usage,
            tool_calls=self.answer.calls_made,
            model=self.answer.model,
            error=ending.error_message,
            code=ending.error_code,
        )

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
