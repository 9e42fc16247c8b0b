"""What a turn tells the model: remembered, fitted, and put into a summary where it grows too long."""

from collections.abc import Mapping

import trio

from understudy.actors.agents.config import AgentConfig
from understudy.actors.inference.messages import ToolSpec
from understudy.actors.inference.retry import RetryBudget
from understudy.actors.session.chronicle import Chronicle
from understudy.actors.session.compacting import Compactor
from understudy.actors.session.compaction import share
from understudy.actors.session.context import NOTHING_KNOWN, Context, Material, fit, window_of
from understudy.actors.session.conversation import Conversation
from understudy.actors.session.recorder import Recorder
from understudy.actors.session.services import SessionServices
from understudy.storage.records import Role, Session

SQUEEZE = 0.7
"""How much of a context that the provider found too long is sent the second time."""


class Prompt:
    """The contexts of one turn's inferences, each made of what is known and said at that moment."""

    def __init__(
        self,
        session: Session,
        turn_id: str,
        config: AgentConfig,
        conversation: Conversation,
        services: SessionServices,
        chronicle: Chronicle,
        recorder: Recorder,
        preface: str,
        retries: RetryBudget,
    ) -> None:
        self.fullness = 0.0
        """How full the newest context was, before anything was left out: a share of the window."""
        self._session = session
        self._turn_id = turn_id
        self._config = config
        self._conversation = conversation
        self._services = services
        self._chronicle = chronicle
        self._recorder = recorder
        self._preface = preface
        self._retries = retries
        self._known: Mapping[str, str] = NOTHING_KNOWN
        self._room = window_of(config, services.window).room
        self._squeezed = False

    async def remember(self) -> None:
        """Learn what the prompt asks to know of the user."""
        recall = self._services.recall
        if recall is None:
            return
        told = self._conversation.messages
        asked = next((said.content for said in reversed(told) if said.role is Role.USER), "")
        began = trio.current_time()
        self._known = await recall(
            self._config.system_prompt, self._session.key, asked, self._config.memory_profile_id, self._session.id
        )
        if self._known:
            self._chronicle.note("memory", began, values=sorted(self._known))

    async def context(self, tools: tuple[ToolSpec, ...], *, compact: bool) -> Context:
        """What the model is told next, with these *tools*.

        With *compact* the beginning of the conversation is put into a summary first, where it must be. Raises
        `ContextTooLarge`.
        """
        began = trio.current_time()
        context = self._fit(tools)
        too_full = self.fullness >= self._services.thresholds.hard
        if compact and too_full and not self._squeezed and await self._compact():
            context = self._fit(tools)
        self._chronicle.note(
            "context",
            began,
            messages=len(context.messages),
            tools=len(tools),
            estimatedTokens=context.tokens,
            **context.losses,
        )
        return context

    async def squeeze(self, context: Context) -> bool:
        """The provider found *context* too long: make those after it shorter. False when that was done before.

        Costs one of the turn's retries.
        """
        if self._squeezed:
            return False
        self._squeezed = True
        self._retries.spent += 1
        self._room = min(self._room, int(context.characters * SQUEEZE))
        await self._compact()
        return True

    def _fit(self, tools: tuple[ToolSpec, ...]) -> Context:
        conversation = self._conversation
        material = Material(
            self._config,
            conversation.messages,
            self._services.now(),
            self._session.key,
            self._preface,
            conversation.summary,
            self._known,
            tools,
        )
        context = fit(material, self._room)
        self.fullness = share(context.wanted, len(conversation.messages), self._room)
        return context

    async def _compact(self) -> bool:
        """Put the beginning of the conversation into a summary; whether there is less to tell than before."""
        services, conversation = self._services, self._conversation
        if services.compaction is None:
            return False
        before = len(conversation.messages)
        # A summary that the turn before had begun is waited for: it may be all that is needed.
        async with conversation.compacting:
            if len(conversation.messages) < before:
                return True
            done = await Compactor(services).compact(
                self._session,
                self._config,
                conversation,
                self._room,
                self._turn_id,
                chronicle=self._chronicle,
                retries=self._retries,
            )
        if done is not None:
            self._recorder.add("compacted", {"messages": done.messages, "turnId": self._turn_id})
        return done is not None
