"""Putting the beginning of a conversation into a summary: asked of the agent's model, stored, and told."""

import logging
from collections.abc import Sequence

import attrs
import trio

from understudy.actors.agents.config import AgentConfig, TurnBudget
from understudy.actors.errors import DomainError
from understudy.actors.facts import fact
from understudy.actors.inference.messages import Finished, TextDelta
from understudy.actors.inference.rehearsal import PROVIDER as BUILTIN
from understudy.actors.inference.retry import RetryBudget
from understudy.actors.session.chronicle import Chronicle
from understudy.actors.session.compaction import LONGEST_SUMMARY, cut, extract, oldest_part, summary_request
from understudy.actors.session.conversation import Conversation
from understudy.actors.session.ports import CompactionStore
from understudy.actors.session.recorder import storable
from understudy.actors.session.services import SessionServices
from understudy.storage.entries import Compaction, Published
from understudy.storage.errors import StoreUnavailable
from understudy.storage.records import Message, Session

COMPACTED = "agent.compacted"
"""The fact that a summary took the place of messages."""

PATIENCE = 45.0
"""Seconds that the model has for a summary; then it is a plain extract."""

log = logging.getLogger(__name__)


@attrs.frozen
class Compacted:
    """What was done: how many messages a summary stands for now, and whether the model wrote it."""

    messages: int
    by_model: bool


@attrs.frozen
class _Wanted:
    """One summary: of which part of what conversation, on whose bill, and whether the model is asked for it."""

    store: CompactionStore
    session: Session
    config: AgentConfig
    conversation: Conversation
    part: tuple[Message, ...]
    room: int
    turn_id: str
    asked: bool
    in_turn: bool


class Compactor:
    """Makes summaries of one session's conversation."""

    def __init__(self, services: SessionServices) -> None:
        self._services = services

    async def compact(
        self,
        session: Session,
        config: AgentConfig,
        conversation: Conversation,
        room: int,
        turn_id: str,
        *,
        chronicle: Chronicle | None = None,
        retries: RetryBudget | None = None,
    ) -> Compacted | None:
        """Put the older part of *conversation* into a summary; None when there is nothing to gain, or no database.

        Within a turn, whose *chronicle* notes and bills it, the turn's own messages stay. Without one it is billed to
        *turn_id* with the summary. A model that fails, says nothing or takes longer than `PATIENCE` does not matter:
        the summary is then a plain extract, and so it is within a turn that has a cap. Outside of one it is counted
        against the agent's and the user's allowances; where those do not suffice, nothing is done. Cancelled, nothing
        is changed. Raises `Fenced`. The caller holds the conversation's lock.
        """
        services = self._services
        if services.compaction is None:
            return None
        part = tuple(oldest_part(conversation.messages, room, running=chronicle is not None))
        if not part:
            return None
        # It is no language model; and a turn with a cap must not spend it on a summary.
        asked = config.provider != BUILTIN and (chronicle is None or config.budget == TurnBudget())
        in_turn = chronicle is not None
        wanted = _Wanted(services.compaction, session, config, conversation, part, room, turn_id, asked, in_turn)
        notes = chronicle or Chronicle(services.prices, services.now, request_id=None, traceparent=None)
        budget = retries or RetryBudget()
        if wanted.in_turn or not asked or services.purse is None:
            return await self._summarise(wanted, notes, budget)
        request = summary_request(config, conversation.summary, part, room)
        holder = f"summary/{turn_id}"
        try:
            async with services.purse.spending(holder, config, session.key, request, notes) as suffices:
                # Where it does not, a later turn will do it, whose own allowance suffices.
                return await self._summarise(wanted, notes, budget, holder) if suffices else None
        except StoreUnavailable as error:
            log.warning("a conversation stays as long as it is: %s", error)
            return None

    async def _summarise(
        self, wanted: _Wanted, notes: Chronicle, retries: RetryBudget, holder: str | None = None
    ) -> Compacted | None:
        """Make the summary and store it, with what it cost, for which *holder* has reserved."""
        session, part, conversation, began = wanted.session, wanted.part, wanted.conversation, trio.current_time()
        written = ""
        if wanted.asked:
            written = await self._ask(wanted.config, conversation.summary, part, wanted.room, notes, retries)
        summary = cut(written) if written else extract(conversation.summary, part)
        summary = summary.encode("utf-8", "replace").decode()  # half a character, which models may well send
        try:
            await wanted.store.compact(
                Compaction(
                    session.id,
                    session.epoch,
                    wanted.turn_id,
                    part[-1].id,
                    summary,
                    facts=(self._fact(session, part, by_model=bool(written)),),
                    charges=() if wanted.in_turn else notes.charges,
                    holder=holder,
                )
            )
        except StoreUnavailable as error:
            log.warning("a conversation stays as long as it is: %s", error)
            return None
        conversation.summarised(part, summary)
        notes.note("compaction", began, messages=len(part), byModel=bool(written))
        return Compacted(len(part), by_model=bool(written))

    async def _ask(
        self,
        config: AgentConfig,
        previous: str | None,
        part: Sequence[Message],
        room: int,
        notes: Chronicle,
        retries: RetryBudget,
    ) -> str:
        """The model's summary; nothing when it gives none that is whole."""
        request = summary_request(config, previous, part, room)
        text: list[str] = []
        length, whole = 0, False
        try:
            with trio.move_on_after(PATIENCE), notes.inference(request, retries) as note:
                note.text = text
                async with self._services.models.stream(request, retries) as events:
                    async for event in events:
                        if isinstance(event, TextDelta):
                            text.append(event.text)
                            length += len(event.text)
                            if length > 2 * LONGEST_SUMMARY:
                                break
                        elif isinstance(event, Finished):
                            note.finished = event
                            whole = True
        except DomainError as error:
            log.warning("no model summarised a conversation, so it is an extract: %s", error)
            return ""
        return storable("".join(text).strip()) if whole else ""

    def _fact(self, session: Session, part: Sequence[Message], *, by_model: bool) -> Published:
        key, last = session.key, part[-1].id
        return fact(
            COMPACTED,
            uid=key.uid,
            workspace_id=key.workspace_id,
            data={
                "agentId": key.agent_id,
                "sessionId": session.id,
                "messagesCompacted": len(part),
                "byModel": by_model,
                "firstMessageId": part[0].id,
                "lastMessageId": last,
            },
            at=self._services.now(),
            id=f"evt_{last.removeprefix('msg_')}",
        )
