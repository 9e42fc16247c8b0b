"""Consent, as a turn sees it: is it needed, and was it given?"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

import attrs
import trio

from understudy.actors.agents.tooling import ANY
from understudy.actors.approvals.messages import (
    APPROVALS,
    Approval,
    ApprovalStatus,
    AwaitDecision,
    RequestApproval,
    Withdraw,
)
from understudy.actors.errors import Unavailable
from understudy.actors.tools.messages import ToolContext
from understudy.runtime import ActorCrashed, ActorSystem, Ask, AskTimeout, MailboxFull, NotRunning, RuntimeFault
from understudy.storage.records import ToolCall, new_id

MARGIN = 15.0
"""Seconds beyond a request's own time within which its end must be heard of."""
PATIENCE = 10.0
"""Seconds for a request to be stored."""
PAUSE = 0.05

R = TypeVar("R")


@attrs.frozen
class ApprovalRules:
    """Which calls need consent: those of these ``tools``, by whatever agent, and all calls of these ``agents``.

    The name of a tool may end in `ANY`, and is then all whose names begin so: ``mcp__tracker__*``.
    It is waited for ``timeout`` seconds; a call that nobody decided then runs only with ``allow_on_timeout``.
    """

    tools: frozenset[str] = frozenset({"shell_exec"})
    agents: frozenset[str] = frozenset()
    timeout: float = 300.0
    allow_on_timeout: bool = False

    @classmethod
    def parse(cls, required: tuple[str, ...], timeout: float, *, allow_on_timeout: bool) -> "ApprovalRules":
        """The rules for names of tools, and of agents as ``agent:<id>``."""
        agents = frozenset(name.removeprefix("agent:") for name in required if name.startswith("agent:"))
        tools = frozenset(name for name in required if not name.startswith("agent:"))
        return cls(tools, agents, timeout, allow_on_timeout)

    def covers(self, tool: str) -> bool:
        """Whether calls of this tool need consent, whichever agent makes them."""
        return tool in self.tools or any(
            tool.startswith(name.removesuffix(ANY)) for name in self.tools if name.endswith(ANY)
        )


class Consent:
    """Asks the approvals actor, and goes on asking when that is restarted. See `session.ports.Consent`."""

    def __init__(self, system: ActorSystem, rules: ApprovalRules, now: Callable[[], datetime]) -> None:
        self._system = system
        self._rules = rules
        self._now = now

    def is_needed(self, agent_id: str, tool: str) -> bool:
        """Whether somebody must agree."""
        return agent_id in self._rules.agents or self._rules.covers(tool)

    async def request(self, call: ToolCall, context: ToolContext) -> Approval:
        """Ask for consent; returns once that is stored. Raises `Unavailable`."""
        now = self._now()
        wanted = Approval(
            id=new_id("apr"),
            workspace_id=context.workspace_id,
            uid=context.uid,
            agent_id=context.agent_id,
            session_id=context.session_id,
            turn_id=context.turn_id,
            tool_call_id=call.id,
            tool=call.name,
            arguments=call.arguments,
            requested_at=now,
            expires_at=now + timedelta(seconds=self._rules.timeout),
        )
        try:
            return await self._ask(RequestApproval(wanted), PATIENCE)
        except BaseException:
            self.withdraw(wanted)  # it is perhaps stored, and nobody will wait for what becomes of it
            raise

    async def decision(self, asked: Approval) -> Approval:
        """Wait for what becomes of it. Raises `Unavailable`."""
        if asked.status is not ApprovalStatus.PENDING:
            return asked
        return await self._ask(AwaitDecision(asked.workspace_id, asked.id), self._rules.timeout + MARGIN)

    def allows(self, decided: Approval) -> bool:
        """Whether the call may run after all."""
        if decided.status is ApprovalStatus.EXPIRED:
            return self._rules.allow_on_timeout
        return decided.status is ApprovalStatus.APPROVED

    def withdraw(self, asked: Approval) -> None:
        """Nobody waits for it any more."""
        with suppress(MailboxFull):  # it then expires
            self._system.tell(APPROVALS, Withdraw(asked.id))

    async def _ask(self, message: Ask[R], patience: float) -> R:
        deadline = trio.current_time() + patience
        while True:
            left = deadline - trio.current_time()
            try:
                return await self._system.ask(APPROVALS, message, timeout=max(left, 0.001))
            except AskTimeout as error:
                raise Unavailable("nobody keeps requests for consent at the moment") from error
            except (ActorCrashed, NotRunning) as error:
                if left <= PAUSE:
                    raise Unavailable("nobody keeps requests for consent at the moment") from error
                await trio.sleep(PAUSE)
            except RuntimeFault as error:
                raise Unavailable("nobody keeps requests for consent at the moment") from error
