"""Who hears of a turn's end beside its readers: those who count."""

from datetime import datetime

from understudy.actors.metrics.messages import METRICS, TurnFinished
from understudy.actors.session.ending import Ending
from understudy.actors.session.ports import Health
from understudy.actors.session.turn import Turn
from understudy.runtime import ActorSystem
from understudy.storage.records import TurnStatus


def tell_of_end(system: ActorSystem, health: Health | None, turn: Turn, ending: Ending, finished_at: datetime) -> None:
    """Tell the metrics, and whoever watches over the agent's *health*. Does not block.

    A turn that somebody stopped says nothing of the agent, and neither does a command.
    """
    key = turn.session.key
    system.tell(
        METRICS,
        TurnFinished(
            agent_id=key.agent_id,
            status=ending.status,
            seconds=(finished_at - turn.started_at).total_seconds(),
            usage=turn.answer.usage,
            model=turn.answer.model,
        ),
    )
    if health is not None and turn.recital is None and ending.status is not TurnStatus.CANCELLED:
        health.ended(key.workspace_id, key.agent_id, key.uid, ending.error_code)
