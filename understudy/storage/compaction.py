"""A conversation's beginning, put into a summary: written by whoever owns the session, once."""

from collections.abc import Sequence
from typing import Any

from understudy.storage.allowances import settle
from understudy.storage.connection import Connection
from understudy.storage.entries import Compaction
from understudy.storage.errors import Fenced
from understudy.storage.outbox import publish
from understudy.storage.repository import Repository, rows
from understudy.storage.spending import Charge

_BILL = """
INSERT INTO billing_usage
    (turn_id, position, workspace_id, uid, agent_id, provider, model, tools, prompt_tokens, completion_tokens,
     cached_tokens, cost, saved, estimated, at)
SELECT %(turn)s, coalesce((SELECT max(position) FROM billing_usage WHERE turn_id = %(turn)s), -1) + 1, workspace_id,
       uid, agent_id, %(provider)s, %(model)s, '{}', %(prompt)s, %(completion)s, %(cached)s, %(cost)s, %(saved)s,
       %(estimated)s, %(at)s
FROM sessions WHERE id = (SELECT session_id FROM turns WHERE id = %(turn)s)
"""


class CompactionRepository(Repository):
    """Summaries of sessions."""

    async def compact(self, wanted: Compaction) -> bool:
        """Store the summary, what it cost and its facts, in one transaction; whether this call did.

        Nothing is changed when messages as new as its last are in a summary already: it may be written again. Raises
        `Fenced` when a newer incarnation owns the session, and `StoreUnavailable`.
        """

        async def work(connection: Connection[Any]) -> bool:
            held = await rows(
                connection, "SELECT epoch FROM sessions WHERE id = %s FOR NO KEY UPDATE", wanted.session_id
            )
            if not held or held[0][0] != wanted.epoch:
                raise Fenced("a newer incarnation owns the session")
            changed = await rows(
                connection,
                "UPDATE sessions SET summary = %s, compacted_position = m.position FROM session_messages m"
                " WHERE sessions.id = %s AND m.id = %s AND m.session_id = sessions.id"
                " AND m.position > sessions.compacted_position RETURNING sessions.id",
                wanted.summary,
                wanted.session_id,
                wanted.last_message_id,
            )
            if not changed:
                return False
            await bill(connection, wanted.turn_id, wanted.charges)
            if wanted.holder is not None:
                await settle(connection, wanted.holder, wanted.charges)
            await publish(connection, *wanted.facts)
            return True

        return await self._transact(work)


async def bill(connection: Connection[Any], turn_id: str, charges: Sequence[Charge]) -> None:
    """Add *charges* to what a turn cost, in the transaction that *connection* is in."""
    for charge in charges:
        await rows(
            connection,
            _BILL,
            turn=turn_id,
            provider=charge.provider,
            model=charge.model,
            prompt=charge.usage.prompt_tokens,
            completion=charge.usage.completion_tokens,
            cached=charge.cached_tokens,
            cost=charge.cost,
            saved=charge.saved,
            estimated=charge.estimated,
            at=charge.at,
        )
