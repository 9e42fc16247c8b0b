"""The health of agents, as a session sees it."""

import logging
from contextlib import suppress

from understudy.actors.healing.messages import HEALING, CheckAgent, TurnEnded
from understudy.runtime import ActorSystem, MailboxFull, RuntimeFault

PATIENCE = 1.0
"""Seconds; whoever does not know by then holds nobody back."""

log = logging.getLogger(__name__)


class Health:
    """Asks the healing actor. See `session.ports.Health`."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system

    async def check(self, workspace_id: str, agent_id: str) -> None:
        """Raises `AgentPaused` while the agent is left alone."""
        try:
            await self._system.ask(HEALING, CheckAgent(workspace_id, agent_id), timeout=PATIENCE)
        except RuntimeFault as fault:
            log.warning("an agent runs though nobody knows whether it is paused: %s", fault)

    def ended(self, workspace_id: str, agent_id: str, uid: str, failure: str | None) -> None:
        """A turn of the agent ended."""
        with suppress(MailboxFull):  # a turn that is not counted; the session that had it goes on
            self._system.tell(HEALING, TurnEnded(workspace_id, agent_id, uid, failure))
