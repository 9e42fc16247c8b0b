"""The beginning of a turn: may it run, and the record that it does."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import attrs
import trio

from understudy.actors.agents.config import AgentConfig
from understudy.actors.clock import written
from understudy.actors.costs.quotas import Allowance, allowances
from understudy.actors.errors import QuotaExceeded as Refused
from understudy.actors.facts import fact
from understudy.actors.session.chronicle import Chronicle
from understudy.actors.session.commands import Command, command_of, reply_to
from understudy.actors.session.context import COMMAND, Material, fit, window_of
from understudy.actors.session.conversation import Conversation
from understudy.actors.session.freshness import has_expired
from understudy.actors.session.recorder import Recorder
from understudy.actors.session.running import Running
from understudy.actors.session.services import SessionServices
from understudy.actors.session.turn import Turn
from understudy.actors.webhooks.callbacks import answer_wanted
from understudy.runtime import EventLog
from understudy.storage.entries import Published, TurnOpened
from understudy.storage.errors import QuotaExceeded, StoreUnavailable
from understudy.storage.records import Message, Role, RunEvent, Session, new_id

OPENING_BOUND = 5.0
"""Seconds within which a turn must be recorded, or it is refused."""

QUOTA_EXCEEDED = "quota.exceeded"
"""The fact that an allowance did not suffice: told once for each allowance and its hour, day or month."""


@attrs.frozen
class Recorded:
    """A turn that is recorded and may run."""

    turn: Turn
    question: Message
    first_seq: int
    is_new: bool


class Opening:
    """One message on its way to become a turn of *session*."""

    def __init__(
        self, session: Session, running: Running, services: SessionServices, set_state: Callable[[str], None]
    ) -> None:
        self.session = session
        self._set_state = set_state
        self._running = running
        self._services = services
        self._message = running.message
        self._began = trio.current_time()
        self._counted = session
        self._command = command_of(running.message.message)

    def must_start_anew(self, config: AgentConfig) -> bool:
        """Whether the conversation is over before this message: reset by it, or for too long without one."""
        session = self.session
        if not session.message_count:
            return False
        return self._command is Command.RESET or has_expired(
            session.last_active_at,
            self._services.now(),
            idle_timeout=config.idle_timeout,
            daily_reset_hour=config.daily_reset_hour,
            timezone=config.timezone,
        )

    async def admit(self, config: AgentConfig) -> str:
        """Refuse what cannot be answered: before anything is recorded. Returns what stands before the agent's prompt.

        Raises `AgentPaused`, and `ContextTooLarge` for a message that does not fit though it were the only one.
        """
        if self._command is Command.STATUS:
            with suppress(StoreUnavailable):  # its counts are then those that are known here
                self._counted = await self._services.store.load(self.session.id) or self.session
        if self._command is not None:
            return ""
        services, key = self._services, self.session.key
        if services.health is not None:
            await services.health.check(key.workspace_id, key.agent_id)
        preface = await services.ground.preface(key.workspace_id)
        room = window_of(config, services.window).room
        fixed = len(preface) + len(config.system_prompt) + sum(map(len, config.instructions))
        if fixed + len(self._message.message) > room // 2:  # else the question cannot be what is too long
            alone = Message("", "", None, Role.USER, self._message.message, services.now())
            tools = services.tools.specs(config.tools)
            fit(Material(config, (alone,), services.now(), key, preface, tools=tools), room)
        return preface

    async def record(
        self,
        config: AgentConfig,
        conversation: Conversation,
        log: EventLog[RunEvent],
        preface: str,
        chronicle: Chronicle,
        turn_id: str,
    ) -> Recorded | None:
        """Record the question and the turn; None when that could not be done in time, and nobody knows whether it was.

        Raises `QuotaExceeded` (an actor's) and `StoreConflict` for a key that is taken: nothing was recorded then.
        """
        services, session, message = self._services, self.session, self._message
        now, first_seq, is_new = services.now(), log.last_seq, session.message_count == 0
        status = "complete" if self._command is None else COMMAND
        question = Message(new_id("msg"), session.id, turn_id, Role.USER, message.message, now, status=status)
        recorder = Recorder(session, turn_id, log, services.writer, services.now, services.flusher)
        recorder.add("session_resolved", {"sessionId": session.id, "isNew": is_new, "turnId": turn_id})
        wanted = self._allowances(config, conversation, preface)
        opened = TurnOpened(
            session.epoch,
            turn_id,
            session.id,
            first_seq,
            now,
            question,
            idempotency=message.idempotency,
            quotas=tuple(each.reservation for each in wanted),
        )
        self._running.offered = True
        try:
            with trio.move_on_after(OPENING_BOUND) as bound:
                await recorder.flush(opened, *self._wished(turn_id, now))
        except QuotaExceeded as lacking:
            self._running.offered = False
            raise await self._lacking(wanted[lacking.which]) from None
        if bound.cancelled_caught:
            return None
        recital = None
        if self._command is not None:
            window = window_of(config, services.window)
            recital = reply_to(self._command, message.message, self._counted, config, conversation, window)
        chronicle.note("resolve_session", self._began, isNew=is_new)
        turn = Turn(
            attrs.evolve(session, message_count=session.message_count + 1, last_active_at=now),
            turn_id,
            config,
            conversation,
            recorder,
            services,
            chronicle,
            set_state=self._set_state,
            hold=self._running.hold,
            preface=preface,
            recital=recital,
            root=message.delegated.root if message.delegated is not None else "",
        )
        return Recorded(turn, question, first_seq, is_new)

    def _wished(self, turn_id: str, now: datetime) -> tuple[Published, ...]:
        """What is told with the turn's opening: where else its answer is to go."""
        url = self._message.callback
        return () if url is None else (answer_wanted(self.session.key, turn_id, url, now),)

    def _allowances(self, config: AgentConfig, conversation: Conversation, preface: str) -> tuple[Allowance, ...]:
        services = self._services
        if self._command is not None:
            return ()
        return allowances(
            config,
            self.session.key,
            conversation.messages,
            self._message.message,
            now=services.now(),
            prices=services.prices,
            user_monthly=services.user_token_budget,
            beside=len(preface) + len(conversation.summary or ""),
            most=max(0, window_of(config, services.window).room),
        )

    async def _lacking(self, allowance: Allowance) -> Refused:
        """The refusal for an allowance that does not suffice, after that was told."""
        now, key, asked = self._services.now(), self.session.key, allowance.reservation
        refusal = allowance.refusal(now)
        period = f"{asked.scope}@{asked.starts:%Y%m%d%H}"
        told = fact(
            QUOTA_EXCEEDED,
            uid=key.uid,
            workspace_id=key.workspace_id,
            data={
                "agentId": key.agent_id,
                "quota": asked.scope.split("/")[1],
                "limit": asked.most,
                "unit": "microUsd" if asked.money else "tokens",
                "resetsAt": written(allowance.ends),
                "code": refusal.code,
            },
            at=now,
            id=f"evt_{hashlib.sha256(period.encode()).hexdigest()[:22]}",
        )
        with suppress(StoreUnavailable):  # it is then told of the next refusal
            await self._services.writer.write(told)
        return refusal
